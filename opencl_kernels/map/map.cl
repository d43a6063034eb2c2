// y[INTO] = VALUE at every coordinate (i0, i1 ..., LAST)                        both classes
//
//   VALUE        a C expression over elements Aj(index) of inputs and the coordinates
//   INTO         the element of y
//   OUTER, INNER, COORDINATES, LAST, LETS: see indexed.clh
#ifndef WORKERS // work-items of the launch; 0: one for each item
#define WORKERS 0
#endif
#ifndef PIECE // elements of an item, along the last coordinate
#define PIECE 1
#endif
#ifndef VALUE
#define VALUE A0(i0)
#endif
#ifndef INTO
#define INTO i0
#endif
#include "indexed.clh"

void map_body(int id, int n, ELEMENTS) {
  const int inner = INNER, pieces = CEIL_DIV(inner, PIECE), items = OUTER * pieces;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int r = item / pieces, first = item % pieces * PIECE;
    COORDINATES
    for (int LAST = first; LAST < inner && LAST < first + PIECE; LAST++) {
      LETS
      WRITE(VALUE, INTO);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void map(ELEMENTS) {
  map_body(get_global_id(0), get_global_size(0), PASS);
}
