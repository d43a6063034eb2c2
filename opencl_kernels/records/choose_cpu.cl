// ticket = the records of a table that a rule chooses                                   class cpu
//
//   Arguments, BY, ORDER: see choose.clh
// A work-item has a range of records, and counts what is chosen before it: that is some
// microseconds at most, and no work-item waits for another.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#include "choose.clh"

void choose_cpu_body(int id, int n, CHOOSE_PARAM) {
  const int begin = first_item(id, n, rule[0]), end = first_item(id + 1, n, rule[0]);
  const int before = BY ? count_chosen(CHOOSE_ARG, 0, begin) : begin;
  const int next = put_chosen(CHOOSE_ARG, begin, end, before);
  if (id == n - 1) end_ticket(CHOOSE_ARG, next);
}

__kernel SERIAL void choose_cpu(CHOOSE_PARAM) {
  choose_cpu_body(get_global_id(0), get_global_size(0), CHOOSE_ARG);
}
