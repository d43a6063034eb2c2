// part[g, m] += h[m, i] * down_i over the share g of a ticket's records, h = act(gate . x) * up . x
//
//   Arguments, GATE, biases, activations: see neurons.clh          class generic; any F and LENGTH
// Groups (G, M): a work-group has a share, a row of x, and its sums in registers. It takes four
// records at a time, whose products with x meet in local memory once.
#ifndef WG // work-items of a group, a power of two
#define WG 128
#endif
#include "record_dots.clh"
#include "neurons.clh"
#define RECORD(q) min(r + q, end - 1) // beyond the last: the last, which counts nothing

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void neurons(NEURONS_PARAM) {
  __local float4 sums[2][WG]; // gates and ups of four records
  const int lane = get_local_id(0), g = get_group_id(0), m = get_group_id(1);
  const int first = first_item(g, G, COUNT), end = first_item(g + 1, G, COUNT);
  HOLD_X(m)
  float8 y8[HELD];
  float rest[HELD];
  EACH_HELD(i) y8[i] = rest[i] = 0.0f;
  for (int r = first; r < end; r += 4) {
    float4 gates = 0.0f, ups = 0.0f;
#define DOTS(q)                                                                               \
  EACH_HELD(i) {                                                                              \
    if (GATE == 1) gates.s##q += times(PART_OF(RECORD(q), 0), CLAMPED(i), x8[i], sums8[i]);   \
    ups.s##q += times(PART_OF(RECORD(q), UP_PART), CLAMPED(i), x8[i], sums8[i]);              \
  }
    FOUR(DOTS)
    sums[0][lane] = gates;
    sums[1][lane] = ups;
    MEET(2)
    gates = sums[0][0];
    ups = sums[1][0];
    barrier(CLK_LOCAL_MEM_FENCE); // before anyone fills `sums` again
#if GATE == 2
#define GATE_OF(q, index) GIVEN_OF(m, index)
#else
#define GATE_OF(q, index) gates.s##q
#endif
#define ADD(q)                                                                                \
  if (r + q < end) {                                                                          \
    const int index = INDEX_OF(r + q);                                                        \
    const float a = GATE ? gate_act(GATE_OF(q, index) + GATE_BIAS_OF(index)) : 1.0f;          \
    const float h = a * up_act(ups.s##q + UP_BIAS_OF(index));                                 \
    if (h != 0.0f)                                                                            \
      EACH_HELD(i) ADD_UNIT(y8[i], rest[i], PART_OF(r + q, DOWN_PART), CLAMPED(i), h)         \
  }
    FOUR(ADD)
  }
  EACH_HELD(i) {
    const float8 sum = y8[i] + rest[i];
    if (NTH(i) < UNITS) store_eight(sum, part + (g * (M) + m) * LENGTH, FIRST_OF(NTH(i)), BEGINS);
  }
}
