// tops, top_ids = the largest of each slice of logits[b*ROWS+ROWS-1] under penalties, and its id
//
//   Rules and arguments: see sampling_slices.clh         class generic; any V; first of three launches
//   ids[b, PAST ..] = tokens; histogram = 0, for the next launch
#ifndef WG // work-items, a power of two
#define WG 256
#endif
#include "sampling_slices.clh"

// The best of all work-items, in tops[0] and sums[0] as best_at reads them.
void join_best(Best best, TEAM) {
  tops[LANE] = best.value;
  sums[LANE] = (ulong)(best.id + 2);
  MEET;
  for (int n = WG / 2; n > 0; n /= 2) {
    if (LANE < n) {
      best = better(best_at(LANE, WITH_TEAM), best_at(LANE + n, WITH_TEAM));
      tops[LANE] = best.value;
      sums[LANE] = (ulong)(best.id + 2);
    }
    MEET;
  }
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void sample_best(__global const int *sym, __global const float *logits,
                 __global const int *sampling, __global const int *tokens, __global int *ids,
                 __global float *group_tops, __global int *top_ids, __global uint *histogram) {
  __local ulong sums[WG];
  __local float tops[WG];
  __local uint counts[COUNT_WORDS];
  const int g = get_group_id(0), b = get_group_id(1), seq = SEQ, past = PAST, rows = ROWS;
  const Options o = read_options(sampling, START(b), past + seq);
  __global const float *x = logits + ((size_t)b * rows + rows - 1) * V;
  __global int *text = ids + (size_t)b * (C + 1);
  const int first = first_item(g, GROUPS, V), last = first_item(g + 1, GROUPS, V);
  const int tile = tile_of(&o, first, last);
  tokens += b * seq;
  for (int i = g * WG + LANE; i < seq; i += GROUPS * WG) text[past + i] = tokens[i];
  for (int i = g * WG + LANE; i < 3 * BINS; i += GROUPS * WG) histogram[b * 3 * BINS + i] = 0;

  Best best = {LOWEST, -1}, logit = {LOWEST, 0};
  for (int i0 = first; i0 < last; i0 += tile) {
    // Another work-group may not have written the last tokens yet: they come from `tokens`.
    count_tile(counts, text, tokens, past, &o, i0);
    EACH_BETWEEN(i, i0, min(i0 + tile, last)) {
      const float x_i = x[i], v = value_of(x_i, count_at(counts, &o, i - i0), &o);
      const Best found = {v, v != v ? -2 : v >= LOWEST ? i : -1};
      best = better(best, found);
      logit.value = max(logit.value, x_i);
    }
  }
  join_best(best, WITH_TEAM);
  const int slice = b * GROUPS + g;
  if (LANE == 0) {
    group_tops[2 * slice] = tops[0];
    top_ids[slice] = (int)sums[0] - 2;
  }
  MEET;
  join_best(logit, WITH_TEAM);
  if (LANE == 0) group_tops[2 * slice + 1] = tops[0];
}
