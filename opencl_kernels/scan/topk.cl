// y, indices = the K greatest elements of every row in order, and their places   both classes
//
//   X, X_LETS     a C expression: an element x of a row, at coordinate LAST
//   BY            1: what is compared is VALUE, by two statistics of the row as in rows.clh
//   LARGEST, LATER: see topk.clh; WHOLE  1: elements are integers
//   OUTER, INNER, COORDINATES, LAST, LETS: see indexed.clh; of a row shorter than K the last one
//                 repeats
// A row is read by one work-item, which keeps the places of the best so far in order and sees from the
// worst of them whether an element joins them.
#ifndef WORKERS // work-items of the launch; 0: one for each row
#define WORKERS 0
#endif
#ifndef BY
#define BY 0
#endif
#include "rows.clh"
#include "topk.clh"
#if BY
#define READ_AT(place, v)                                                                     \
  {                                                                                           \
    const int LAST = place;                                                                   \
    X_LETS const float x = X;                                                                 \
    LETS v = VALUE;                                                                           \
  }
#else
#define READ_AT(place, v)                                                                     \
  {                                                                                           \
    const int LAST = place;                                                                   \
    X_LETS v = X;                                                                             \
  }
#endif
// result = OP over the row of an expression in x
#define OVER_ROW(OP, of, result)                                                              \
  float result = START_OF(OP);                                                                \
  for (int LAST = 0; LAST < inner; LAST++) {                                                  \
    X_LETS const float x = X;                                                                 \
    result = OP(result, of);                                                                  \
  }

void topk_body(int id, int n, ELEMENTS, __global long *indices) {
  const int inner = INNER, rows = OUTER;
  for (int r = first_item(id, n, rows); r < first_item(id + 1, n, rows); r++) {
    COORDINATES
    __global long *best = indices + r * K;
#if BY
    OVER_ROW(FIRST, FIRST_OF, m)
    OVER_ROW(SECOND, SECOND_OF, s)
#endif
    int count = 0;
    NUMBER worst = 0, own, other;
    for (int place = 0; place < inner; place++) {
      READ_AT(place, own)
      if (count == K && !BEFORE(own, worst)) continue;
      int j = count < K ? count++ : K - 1;
      for (; j > 0; j--) {
        READ_AT((int)best[j - 1], other)
        if (!BEFORE(own, other)) break;
        best[j] = best[j - 1];
      }
      best[j] = place;
      READ_AT((int)best[count - 1], worst)
    }
    for (int j = 0; count > 0 && j < K; j++) {
      if (j >= count) best[j] = best[count - 1];
      READ_AT((int)best[j], own)
      WRITE(own, r * K + j);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void topk(ELEMENTS,
                                                                      __global long *indices) {
  topk_body(get_global_id(0), get_global_size(0), PASS, indices);
}
