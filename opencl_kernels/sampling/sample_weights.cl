// weights[b, i] = floor(2^30 exp((value_i - largest) / temperature)), where an id is drawn
//
//   Rules and arguments: see sampling_slices.clh        class generic; any V; second of three launches
//   histogram, masses = how many weights and what mass, by bins and by slices
// Sums are of integers, so that they are the same in any order.
#ifndef WG // work-items, a power of two
#define WG 256
#endif
#include "sampling_slices.clh"

// Adds to two words of 32 bits each; there are no atomics of 64 bits everywhere.
#define ADD_WIDE(low, high, value)                                                            \
  {                                                                                           \
    const uint added = value, before = atomic_add(low, added);                                \
    if (before > 0xffffffffu - added) atomic_inc(high);                                       \
  }

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void sample_weights(__global const int *sym, __global const float *logits,
                    __global const int *sampling, __global const float *group_tops,
                    __global const int *top_ids, __global uint *weights,
                    __global uint *histogram, __global uint *masses) {
  __local ulong sums[WG];
  __local float *const tops = 0; // no values are compared
  __local uint bins[3 * BINS];
  const int g = get_group_id(0), b = get_group_id(1), rows = ROWS, slice = b * GROUPS + g;
  const Options o = read_options(sampling, START(b), PAST + SEQ);
  __global const float *x = logits + ((size_t)b * rows + rows - 1) * V;
  group_tops += 2 * b * GROUPS;
  weights += (size_t)b * V;
  const Best best = best_of_slices(group_tops, top_ids + b * GROUPS);
  const int random = !o.greedy && best.id >= 0;
  const int first = first_item(g, GROUPS, V), last = first_item(g + 1, GROUPS, V);
  const float scale = LOG2_E / o.temperature;
  EACH(i, 3 * BINS) bins[i] = 0;
  MEET;
  ulong mine = 0;
  EACH_BETWEEN(i, first, random ? last : first) {
    const uint w = WEIGHT(uint, value_at(x, weights, o.penalised, &o, i), best.value, scale);
    weights[i] = w;
    mine += w;
    if (w == 0) continue;
    const int bin = bin_of(w);
    atomic_inc(bins + bin);
    ADD_WIDE(bins + BINS + bin, bins + 2 * BINS + bin, w)
  }
  MEET;
  histogram += b * 3 * BINS;
  EACH(i, BINS) {
    if (bins[i] == 0) continue;
    atomic_add(histogram + i, bins[i]);
    ADD_WIDE(histogram + BINS + i, histogram + 2 * BINS + i, bins[BINS + i])
    if (bins[2 * BINS + i]) atomic_add(histogram + 2 * BINS + i, bins[2 * BINS + i]);
  }
  const float top = largest_logit(group_tops);
  ulong own = 0;
  EACH_BETWEEN(i, first, o.logprobs ? last : first) own += WEIGHT(uint, x[i], top, LOG2_E);
  mine = sum_of(mine, WITH_TEAM);
  own = sum_of(own, WITH_TEAM);
  if (LANE == 0) vstore4(as_uint4((ulong2)(mine, own)), slice, masses);
}
