// y_m = the row of tokens[m], where a ticket has it                                  both classes
//
//   ticket, slots (records.clh), tokens i32[M], y Y[M, LENGTH]; any LENGTH
// Rows of y with other ids are left alone: another launch of the gather has their records. An item
// is eight numbers of a row.
#ifndef WORKERS // work-items of the launch; 0: one for each item
#define WORKERS 0
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#include "record_units.clh"
#define PARAMS                                                                                \
  TICKET_PARAM __global const int *tokens, __global STORAGE(Y_HALF) *y

// The place of an id among the ticket's records; COUNT: it has another.
int record_with(TICKET_PARAM int id) {
  int r = WHOLE ? clamp(id, 0, COUNT - 1) : 0;
  while (r < COUNT && INDEX_OF(r) != id) r++;
  return r;
}

void embed_rows_body(int id, int n, PARAMS) {
  const int items = (M) * UNITS;
  int m = -1, r = 0;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    if (item / UNITS != m) {
      m = item / UNITS;
      r = record_with(TICKET_ARG tokens[m]);
    }
    const int k = FIRST_OF(item % UNITS);
    if (r == COUNT || k >= LENGTH) continue;
    const float8 v = values_of(PART_OF(r, 0), item % UNITS);
#define PUT(e)                                                                                \
  if (k + e < LENGTH) STORE(Y_HALF, v.s##e, y, (size_t)m * LENGTH + k + e);
    EACH8(PUT)
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void embed_rows(PARAMS) {
  embed_rows_body(get_global_id(0), get_global_size(0), TICKET_ARG tokens, y);
}
