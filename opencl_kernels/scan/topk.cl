// y, indices = the K greatest elements of every row in order, and their places   both classes
//
//   X             a C expression: an element of a row, at coordinate LAST
//   LARGEST       0: the K least
//   LATER         1: of equal elements the later one comes first
//   WHOLE         1: elements are integers
//   OUTER, INNER, COORDINATES, LAST, LETS: see indexed.clh; of a row shorter than K the last one
//                 repeats
// What is no number comes first, so that it shows. A row is read by one work-item, which keeps the
// places of the best so far in order and sees from the worst of them whether an element joins them.
#ifndef WORKERS // work-items of the launch; 0: one for each row
#define WORKERS 0
#endif
#ifndef X
#define X A0(i0)
#endif
#ifndef K
#define K 1
#endif
#ifndef LARGEST
#define LARGEST 1
#endif
#ifndef LATER
#define LATER 0
#endif
#include "indexed.clh"
#define AHEAD(v, w) (LARGEST ? (v) > (w) : (v) < (w))
// whether v, which stands later in the row, comes before w
#define BEFORE(v, w) (AHEAD(v, w) || ((v) != (v) && (LATER || (w) == (w))) || (LATER && (v) == (w)))
#define READ_AT(place, v) \
  {                       \
    const int LAST = place; \
    LETS v = X;           \
  }

void topk_body(int id, int n, ELEMENTS, __global long *indices) {
  const int inner = INNER, rows = OUTER;
  for (int r = first_item(id, n, rows); r < first_item(id + 1, n, rows); r++) {
    COORDINATES
    __global long *best = indices + r * K;
    int count = 0;
    NUMBER worst = 0, x, other;
    for (int place = 0; place < inner; place++) {
      READ_AT(place, x)
      if (count == K && !BEFORE(x, worst)) continue;
      int j = count < K ? count++ : K - 1;
      for (; j > 0; j--) {
        READ_AT((int)best[j - 1], other)
        if (!BEFORE(x, other)) break;
        best[j] = best[j - 1];
      }
      best[j] = place;
      READ_AT((int)best[count - 1], worst)
    }
    for (int j = 0; count > 0 && j < K; j++) {
      if (j >= count) best[j] = best[count - 1];
      READ_AT((int)best[j], x)
      WRITE(x, r * K + j);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void topk(ELEMENTS,
                                                                      __global long *indices) {
  topk_body(get_global_id(0), get_global_size(0), PASS, indices);
}
