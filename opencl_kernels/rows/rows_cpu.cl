// y = VALUE at every element of a row, by two statistics of the row             class cpu
//
//   X                       a C expression: an element x of the row, at coordinate LAST
//   FIRST, FIRST_OF         m = SUM, MAX … over the row of an expression in x
//   SECOND, SECOND_OF       s = the same over an expression in x and m
//   VALUE                   a C expression in x, m, s and the coordinates
//   OUTER, INNER, COORDINATES, LAST, LETS: see indexed.clh; LETS belongs to VALUE, X_LETS to X
// A work-item has a range of rows; x is computed three times, which is cheaper than to keep it.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#include "rows.clh"

void rows_cpu_body(int id, int n, ELEMENTS) {
  const int inner = INNER, rows = OUTER, whole = inner / LANES * LANES;
  for (int r = first_item(id, n, rows); r < first_item(id + 1, n, rows); r++) {
    COORDINATES
    float part[LANES];
    EACH_LANE part[lane] = START_OF(FIRST);
    for (int base = 0; base < whole; base += LANES)
      EACH_LANE {
        const int LAST = base + lane;
        X_LETS const float x = X;
        part[lane] = FIRST(part[lane], FIRST_OF);
      }
    float m = part[0];
    for (int lane = 1; lane < LANES; lane++) m = FIRST(m, part[lane]);
    for (int LAST = whole; LAST < inner; LAST++) {
      X_LETS const float x = X;
      m = FIRST(m, FIRST_OF);
    }
    EACH_LANE part[lane] = START_OF(SECOND);
    for (int base = 0; base < whole; base += LANES)
      EACH_LANE {
        const int LAST = base + lane;
        X_LETS const float x = X;
        part[lane] = SECOND(part[lane], SECOND_OF);
      }
    float s = part[0];
    for (int lane = 1; lane < LANES; lane++) s = SECOND(s, part[lane]);
    for (int LAST = whole; LAST < inner; LAST++) {
      X_LETS const float x = X;
      s = SECOND(s, SECOND_OF);
    }
    for (int LAST = 0; LAST < inner; LAST++) {
      X_LETS const float x = X;
      LETS WRITE(VALUE, r * inner + LAST);
    }
  }
}

__kernel SERIAL void rows_cpu(ELEMENTS) {
  rows_cpu_body(get_global_id(0), get_global_size(0), PASS);
}
