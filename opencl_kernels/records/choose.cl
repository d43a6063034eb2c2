// ticket = the records of a table that a rule chooses                               class generic
//
//   Arguments, BY, ORDER: see choose.clh
// One work-group: a work-item counts its range, the sums of those before it say where it writes.
#ifndef WG // work-items, a power of two
#define WG 256
#endif
#include "choose.clh"

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void choose(CHOOSE_PARAM) {
  __local int sums[2][WG]; // of a work-item and as many before it as have been added, in turn
  const int lane = get_local_id(0), count = rule[0];
  const int begin = first_item(lane, WG, count), end = first_item(lane + 1, WG, count);
  const int own = count_chosen(CHOOSE_ARG, begin, end);
  int turn = 0;
  sums[0][lane] = own;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int step = 1; step < WG; step *= 2) {
    const int before = lane < step ? 0 : sums[turn][lane - step];
    sums[1 - turn][lane] = sums[turn][lane] + before;
    turn = 1 - turn;
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  const int next = put_chosen(CHOOSE_ARG, begin, end, sums[turn][lane] - own);
  if (lane == WG - 1) end_ticket(CHOOSE_ARG, next);
}
