// y, indices = the K greatest elements of short rows in order, and their places     both classes
//
//   X, X_LETS     a C expression: an element x of a row, at coordinate LAST
//   SIZE          elements of a row
//   BY            1: what is compared is VALUE, by two statistics of the row as in rows.clh
//   LARGEST, LATER: see topk.clh; WHOLE  1: elements are integers
//   GROUPS        as many runs of equal length make up a row; 0: none. A run counts what its BEST
//                 greatest elements are together; all but the KEPT runs that count most are FILLed
//   OUTER, COORDINATES, LAST, LETS: see indexed.clh; of a row shorter than K the last one repeats
// A row is read by one work-item, which computes each element once and keeps it.
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

// The places of the first `count` of `size` elements, in order; of fewer the last one repeats.
void first_of(const NUMBER *elements, int size, int count, int *places) {
  int found = 0;
  for (int i = 0; i < size; i++) {
    if (found == count && !BEFORE(elements[i], elements[places[count - 1]])) continue;
    int j = found < count ? found++ : count - 1;
    for (; j > 0 && BEFORE(elements[i], elements[places[j - 1]]); j--) places[j] = places[j - 1];
    places[j] = i;
  }
  for (; found < count; found++) places[found] = places[found - 1];
}

#if GROUPS
#define RUN (SIZE / GROUPS)
// Fill what is in none of the best groups.
void keep_groups(NUMBER *row) {
  NUMBER sums[GROUPS];
  int places[BEST], kept[KEPT];
  for (int g = 0; g < GROUPS; g++) {
    first_of(row + g * RUN, RUN, BEST, places);
    sums[g] = 0;
    for (int j = 0; j < BEST; j++) sums[g] += row[g * RUN + places[j]];
  }
  first_of(sums, GROUPS, KEPT, kept);
  for (int g = 0; g < GROUPS; g++) {
    int keeps = 0;
    for (int j = 0; j < KEPT; j++) keeps |= kept[j] == g;
    for (int i = 0; !keeps && i < RUN; i++) row[g * RUN + i] = FILL;
  }
}
#endif

void topk_short_body(int id, int n, ELEMENTS, __global long *indices) {
  const int rows = OUTER;
  for (int r = first_item(id, n, rows); r < first_item(id + 1, n, rows); r++) {
    COORDINATES
    NUMBER row[SIZE];
    int places[K];
    for (int LAST = 0; LAST < SIZE; LAST++) {
      X_LETS row[LAST] = X;
    }
#if BY
    float m = START_OF(FIRST), s = START_OF(SECOND);
    for (int LAST = 0; LAST < SIZE; LAST++) {
      const float x = row[LAST];
      m = FIRST(m, FIRST_OF);
    }
    for (int LAST = 0; LAST < SIZE; LAST++) {
      const float x = row[LAST];
      s = SECOND(s, SECOND_OF);
    }
    for (int LAST = 0; LAST < SIZE; LAST++) {
      const float x = row[LAST];
      LETS row[LAST] = VALUE;
    }
#endif
#if GROUPS
    keep_groups(row);
#endif
    first_of(row, SIZE, K, places);
    for (int j = 0; j < K; j++) {
      indices[r * K + j] = places[j];
      WRITE(row[places[j]], r * K + j);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
topk_short(ELEMENTS, __global long *indices) {
  topk_short_body(get_global_id(0), get_global_size(0), PASS, indices);
}
