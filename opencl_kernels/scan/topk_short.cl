// y, indices = the K greatest elements of short rows in order, and their places     both classes
//
//   X, X_LETS     a C expression: an element x of a row, at coordinate LAST
//   SIZE          elements of a row
//   BY            1: what is compared is VALUE, by two statistics of the row as in rows.clh
//   LARGEST, LATER: see topk.clh; WHOLE  1: elements are integers
//   GROUPS        as many runs of equal length make up a row; 0: none. A run counts what its BEST
//                 greatest elements are together; all but the KEPT runs that count most are FILLed
//   OUTER, COORDINATES, LAST, LETS: see indexed.clh; of a row shorter than K the last one repeats
// A row is read by one work-item, which computes each element once and keeps it: on GPUs in local
// memory, since places are known at run time only, and private memory is that of all there.
#ifndef WORKERS // work-items of the launch; 0: one for each row
#define WORKERS 0
#endif
#ifndef SIZE
#define SIZE 8
#endif
#ifndef BY
#define BY 0
#endif
#ifndef GROUPS
#define GROUPS 0
#endif
#ifndef BEST
#define BEST 1
#endif
#ifndef KEPT
#define KEPT 1
#endif
#ifndef FILL
#define FILL 0.0f
#endif
#include "rows.clh"
#include "topk.clh"

#define PLACES (GROUPS && BEST + KEPT > K ? BEST + KEPT : K)
#define NUMBERS (SIZE + GROUPS)
#if LOCAL == 1
#define KEPT_IN __private
#define STEP 1
#define ROOM
#else
#define KEPT_IN __local
#define STEP LOCAL // from one of a work-item's numbers to the next: neighbours' lie side by side
#define ROOM , __local NUMBER *row, __local int *places
#endif
#define AT(list, i) (list)[(i) * STEP]

// The places of the first `count` of `size` elements, in order; of fewer the last one repeats.
void first_of(const KEPT_IN NUMBER *elements, int size, int count, KEPT_IN int *places) {
  int found = 0;
  for (int i = 0; i < size; i++) {
    const NUMBER v = AT(elements, i);
    if (found == count && !BEFORE(v, AT(elements, AT(places, count - 1)))) continue;
    int j = found < count ? found++ : count - 1;
    for (; j > 0 && BEFORE(v, AT(elements, AT(places, j - 1))); j--)
      AT(places, j) = AT(places, j - 1);
    AT(places, j) = i;
  }
  for (; found < count; found++) AT(places, found) = AT(places, found - 1);
}

#if GROUPS
#define RUN (SIZE / GROUPS)
// Fill what is in none of the best groups.
void keep_groups(KEPT_IN NUMBER *row, KEPT_IN int *places) {
  KEPT_IN NUMBER *sums = &AT(row, SIZE);
  KEPT_IN int *kept = &AT(places, BEST);
  for (int g = 0; g < GROUPS; g++) {
    KEPT_IN NUMBER *run = &AT(row, g * RUN);
    first_of(run, RUN, BEST, places);
    NUMBER sum = 0;
    for (int j = 0; j < BEST; j++) sum += AT(run, AT(places, j));
    AT(sums, g) = sum;
  }
  first_of(sums, GROUPS, KEPT, kept);
  for (int g = 0; g < GROUPS; g++) {
    int keeps = 0;
    for (int j = 0; j < KEPT; j++) keeps |= AT(kept, j) == g;
    for (int i = 0; !keeps && i < RUN; i++) AT(row, g * RUN + i) = FILL;
  }
}
#endif

void topk_short_body(int id, int n, ELEMENTS, __global long *indices ROOM) {
  const int rows = OUTER;
#if LOCAL == 1
  NUMBER row[NUMBERS];
  int places[PLACES];
#endif
  for (int r = first_item(id, n, rows); r < first_item(id + 1, n, rows); r++) {
    COORDINATES
    for (int LAST = 0; LAST < SIZE; LAST++) {
      X_LETS AT(row, LAST) = X;
    }
#if BY
    float m = START_OF(FIRST), s = START_OF(SECOND);
    for (int LAST = 0; LAST < SIZE; LAST++) {
      const float x = AT(row, LAST);
      m = FIRST(m, FIRST_OF);
    }
    for (int LAST = 0; LAST < SIZE; LAST++) {
      const float x = AT(row, LAST);
      s = SECOND(s, SECOND_OF);
    }
    for (int LAST = 0; LAST < SIZE; LAST++) {
      const float x = AT(row, LAST);
      LETS AT(row, LAST) = VALUE;
    }
#endif
#if GROUPS
    keep_groups(row, places);
#endif
    first_of(row, SIZE, K, places);
    for (int j = 0; j < K; j++) {
      indices[r * K + j] = AT(places, j);
      WRITE(AT(row, AT(places, j)), r * K + j);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
topk_short(ELEMENTS, __global long *indices) {
#if LOCAL == 1
  topk_short_body(get_global_id(0), get_global_size(0), PASS, indices);
#else
  __local NUMBER rows[NUMBERS * LOCAL];
  __local int places[PLACES * LOCAL];
  const int lane = get_local_id(0);
  topk_short_body(get_global_id(0), get_global_size(0), PASS, indices, rows + lane, places + lane);
#endif
}
