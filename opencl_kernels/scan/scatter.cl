// y[INTO] = OP(y[INTO], VALUE) for every update                                 both classes
//
//   INTO, VALUE        C expressions: the element of y, and what comes to it, of an update
//   INTO_LETS, LETS    statements before them, which name what they use often
//   OP                 LATEST (the update itself), SUM, PRODUCT, MAX or MIN
//   WHOLE              1: elements of y are integers or truth values
//   OUTER, INNER       updates are a table: those of two columns never meet in an element, those
//                      of a column come one after the other
//   COORDINATES        of the r-th column; INNER_COORDINATES: of the k-th update of a column
// A column belongs to one work-item: nothing is atomic, and sums have one order.
#ifndef WORKERS // work-items of the launch; 0: one for each column
#define WORKERS 0
#endif
#ifndef INTO_LETS
#define INTO_LETS ;
#endif
#ifndef INTO
#define INTO i0
#endif
#ifndef VALUE
#define VALUE A0(i0)
#endif
#ifndef OP
#define OP LATEST
#endif
#include "indexed.clh"
#define LATEST(a, b) (b)

void scatter_body(int id, int n, ELEMENTS) {
  const int inner = INNER, first = first_item(id, n, OUTER), end = first_item(id + 1, n, OUTER);
  for (int k = 0; k < inner; k++) {
    INNER_COORDINATES
    for (int r = first; r < end; r++) { // a work-item's columns lie side by side
      COORDINATES
      INTO_LETS const int place = INTO;
      LETS WRITE(OP(READ(Y_TYPE, y, place), VALUE), place);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void scatter(ELEMENTS) {
  scatter_body(get_global_id(0), get_global_size(0), PASS);
}
