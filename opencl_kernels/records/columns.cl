// acc[g, m] += c[m, i] * record i over the share g of a ticket's records            class generic
//
//   ticket, slots (records.clh), c X[M, F], acc f32[G][M][PARTS * LENGTH]; any F and LENGTH
// Groups (blocks of WG units of the parts, G, M): a work-item has eight sums.
#ifndef WG // work-items of a group
#define WG 64
#endif
#ifndef F
#define F 64
#endif
#ifndef G
#define G 2
#endif
#include "record_units.clh"

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void
columns(TICKET_PARAM __global const STORAGE(X_HALF) *c, __global float *acc) {
  const int item = get_global_id(0), g = get_group_id(1), m = get_group_id(2);
  if (item >= PARTS * UNITS) return;
  const int p = item / UNITS, unit = item % UNITS;
  const int end = first_item(g + 1, G, COUNT);
  float8 sum = 0.0f;
  float rest = 0.0f;
  for (int r = first_item(g, G, COUNT); r < end; r++) {
    const float factor = LOAD(X_HALF, c, m * F + INDEX_OF(r));
    if (factor != 0.0f) ADD_UNIT(sum, rest, PART_OF(r, p), unit, factor)
  }
  const int row = ((g * (M) + m) * PARTS + p) * LENGTH;
  store_eight(sum + rest, acc + row, FIRST_OF(unit), BEGINS);
}
