// y[o] = VALUE of s = OP over X, at every coordinate of the output                both classes
//
//   X                  a C expression: an element, at coordinates of the output and of the reduction
//   OP                 SUM, PRODUCT, MAX or MIN
//   VALUE              a C expression in s and the output's coordinates
//   OUTER, INNER       elements of the output, and how many each is made of
//   COORDINATES        statements that find the output's coordinates of its r-th element
//   INNER_COORDINATES  statements that find those of the k-th element of the reduction
//   LETS               statements before X, which name what it uses often
//   WHOLE              1: X and s are integers
#ifndef WORKERS // work-items of the launch; 0: one for each element of the output
#define WORKERS 0
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#ifndef OUTER
#define OUTER 1
#endif
#ifndef INNER
#define INNER SEQ
#endif
#ifndef COORDINATES
#define COORDINATES ;
#endif
#ifndef INNER_COORDINATES
#define INNER_COORDINATES const int i0 = k;
#endif
#ifndef LETS
#define LETS ;
#endif
#ifndef X
#define X A0(i0)
#endif
#ifndef OP
#define OP SUM
#endif
#ifndef VALUE
#define VALUE s
#endif
#ifndef INPUTS
#define INPUTS 1
#endif
#include "common.clh"
#include "elements.clh"
#include "statistic.clh"
#define EACH_LANE _Pragma("unroll") for (int lane = 0; lane < LANES; lane++)

void reduce_body(int id, int n, ELEMENTS) {
  const int outer = OUTER, inner = INNER, whole = inner / LANES * LANES;
  for (int r = first_item(id, n, outer); r < first_item(id + 1, n, outer); r++) {
    COORDINATES
    NUMBER part[LANES];
    EACH_LANE part[lane] = START_OF(OP);
    for (int base = 0; base < whole; base += LANES)
      EACH_LANE {
        const int k = base + lane;
        INNER_COORDINATES
        LETS
        part[lane] = OP(part[lane], X);
      }
    NUMBER s = part[0];
    for (int lane = 1; lane < LANES; lane++) s = OP(s, part[lane]);
    for (int k = whole; k < inner; k++) {
      INNER_COORDINATES
      LETS
      s = OP(s, X);
    }
    WRITE(VALUE, r);
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void reduce(ELEMENTS) {
  reduce_body(get_global_id(0), get_global_size(0), PASS);
}
