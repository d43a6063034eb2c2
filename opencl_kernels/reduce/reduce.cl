// y[o] = VALUE of s = OP over X, at every coordinate of the output                both classes
//
//   X                  a C expression: an element, at coordinates of the output and of the reduction
//   OP                 SUM, PRODUCT, MAX or MIN
//   VALUE              a C expression in s and the output's coordinates
//   WHOLE              1: X and s are integers
//   OUTER, INNER, COORDINATES, INNER_COORDINATES, LETS: see indexed.clh; a row makes an element
#ifndef WORKERS // work-items of the launch; 0: one for each element of the output
#define WORKERS 0
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
#include "indexed.clh"

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
