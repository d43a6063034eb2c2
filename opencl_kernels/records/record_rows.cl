// v[m, i] = part PART of record i . x_m, for each record of a ticket                class generic
//
//   ticket, slots (records.clh), x X[M, LENGTH], v f32[M, F]; any F and LENGTH
// Groups (T / 4, M): a work-group has four records and a row of x.
#ifndef WG // work-items of a group, a power of two
#define WG 64
#endif
#ifndef F
#define F 64
#endif
#include "record_dots.clh"
#define RECORD(q) min(r + q, COUNT - 1)

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void
record_rows(TICKET_PARAM __global const STORAGE(X_HALF) *x, __global float *v) {
  __local float4 sums[1][WG];
  const int lane = get_local_id(0), r = get_group_id(0) * 4, m = get_group_id(1);
  float4 own = 0.0f;
  if (r < COUNT) {
    HOLD_X(m)
#define DOTS(q)                                                                               \
  EACH_HELD(i) own.s##q += times(PART_OF(RECORD(q), 0), CLAMPED(i), x8[i], sums8[i]);
    FOUR(DOTS)
  }
  sums[0][lane] = own;
  MEET(1)
  own = sums[0][0];
#define WRITE_ONE(q)                                                                          \
  if (lane == q && r + q < COUNT) v[m * F + INDEX_OF(r + q)] = own.s##q;
  FOUR(WRITE_ONE)
}
