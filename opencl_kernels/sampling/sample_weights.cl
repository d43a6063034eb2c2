// weights[b, i] = floor(2^30 exp((value_i - largest) / temperature)), where an id is drawn
//
//   Rules and arguments: see sampling_slices.clh        class generic; any V; second of three launches
//   histogram, masses = how many weights and what mass, by bins and by slices
// Sums are of integers, so that they are the same in any order.
#ifndef WG // work-items, a power of two
#define WG 256
#endif
#include "sampling_slices.clh"

// Adds to a mass of two words.
void add_total(__local uint *words, ulong mine) {
  ADD_WIDE(words, words + 1, (uint)mine)
  if (mine >> 32) atomic_add(words + 1, (uint)(mine >> 32));
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void sample_weights(__global const int *sym, __global const float *logits,
                    __global const int *sampling, __global const float *group_tops,
                    __global const int *top_ids, __global const int *ids,
                    __global uint *weights, __global uint *histogram, __global uint *masses) {
  __local uint bins[3 * BINS], counts[COUNT_WORDS]; // 16 KiB: two work-groups find room in 32
  const int g = get_group_id(0), b = get_group_id(1), rows = ROWS, slice = b * GROUPS + g;
  Options o = read_options(sampling, START(b), PAST + SEQ);
  __global const float *x = logits + ((size_t)b * rows + rows - 1) * V;
  group_tops += 2 * b * GROUPS;
  weights += (size_t)b * V;
  const Best best = best_of_slices(group_tops, top_ids + b * GROUPS);
  const int random = !o.greedy && best.id >= 0;
  const int first = first_item(g, GROUPS, V), last = first_item(g + 1, GROUPS, V);
  const float scale = LOG2_E / o.temperature;
  o.penalised &= random;
  o.last = random ? o.last : o.first;
  EACH(i, 3 * BINS) bins[i] = 0;
  MEET;
  ulong mine = 0, own = 0;
  const float top = largest_logit(group_tops);
  const int tile = tile_of(&o, first, last);
  __global const int *text = ids + (size_t)b * (C + 1);
  for (int i0 = first; i0 < last; i0 += tile) {
    count_tile(counts, text, text, o.last, &o, i0); // all tokens are in the text by now
    EACH_BETWEEN(i, i0, random || o.logprobs ? min(i0 + tile, last) : i0) {
      const float x_i = x[i];
      if (o.logprobs) own += WEIGHT(uint, x_i, top, LOG2_E);
      if (!random) continue;
      const float v = value_of(x_i, count_at(counts, &o, i - i0), &o);
      const uint w = WEIGHT(uint, v, best.value, scale);
      weights[i] = w;
      mine += w;
      if (w == 0) continue;
      const int bin = bin_of(w);
      atomic_inc(bins + bin);
      ADD_WIDE(bins + BINS + bin, bins + 2 * BINS + bin, w)
    }
  }
  MEET;
  EACH(i, 4) counts[i] = 0; // from here on of both masses the low and the high word
  MEET;
  add_total(counts, mine);
  add_total(counts + 2, own);
  MEET;
  histogram += b * 3 * BINS;
  EACH(i, BINS) {
    if (bins[i] == 0) continue;
    atomic_add(histogram + i, bins[i]);
    ADD_WIDE(histogram + BINS + i, histogram + 2 * BINS + i, bins[BINS + i])
    if (bins[2 * BINS + i]) atomic_add(histogram + 2 * BINS + i, bins[2 * BINS + i]);
  }
  if (LANE == 0) vstore4(vload4(0, counts), slice, masses);
}
