// y[i] = x[0] OP x[1] ... OP x[i] along every row                               both classes
//
//   X                   a C expression: an element of a row, at coordinate LAST
//   OP                  SUM, PRODUCT, MAX or MIN
//   EXCLUSIVE, REVERSE  1: y[i] is without x[i] itself; from the row's end
//   WHOLE               1: elements are integers
//   OUTER, INNER, COORDINATES, LAST, LETS: see indexed.clh
// A row is computed by one work-item, in order: no partial result has a rounding of its own.
#ifndef WORKERS // work-items of the launch; 0: one for each row
#define WORKERS 0
#endif
#ifndef X
#define X A0(i0)
#endif
#ifndef OP
#define OP SUM
#endif
#ifndef EXCLUSIVE
#define EXCLUSIVE 0
#endif
#ifndef REVERSE
#define REVERSE 0
#endif
#include "indexed.clh"

void scan_body(int id, int n, ELEMENTS) {
  const int inner = INNER, rows = OUTER;
  for (int r = first_item(id, n, rows); r < first_item(id + 1, n, rows); r++) {
    COORDINATES
    NUMBER s = START_OF(OP);
    for (int step = 0; step < inner; step++) {
      const int LAST = REVERSE ? inner - 1 - step : step;
      const NUMBER before = s;
      LETS
      s = OP(s, X);
      WRITE(EXCLUSIVE ? before : s, r * inner + LAST);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void scan(ELEMENTS) {
  scan_body(get_global_id(0), get_global_size(0), PASS);
}
