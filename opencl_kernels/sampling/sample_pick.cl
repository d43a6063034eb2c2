// tokens_B = ids[b, PAST+SEQ] = the next id of logits[b*ROWS+ROWS-1]; PAST += SEQ
//
//   Rules and arguments: see sampling_slices.clh         class generic; any V; last of three launches
//   candidates u32[V, 2]: the ids that may be kept and their weights, in any order
// The only kernel of the three that writes `sym`: the next step's position needs no word from the
// host. Nothing depends on an order: which ids are kept of equal weights, and where the sum passes
// the random share, is found bit by bit, as the cut is.
#ifndef WG // work-items, a power of two up to 1024
#define WG 256
#endif
#include "sampling_slices.clh"
#define IDS_BIT (1 << (31 - clz(V))) // the highest bit of an id

// above[bin] = how many weights, and what mass, lie in it and in the bins over it.
void add_up(__global const uint *histogram, __local uint *above, TEAM) {
  const int last = BINS - LANE * (BINS / WG), first = last - BINS / WG;
  ulong count = 0, mass = 0;
  for (int i = first; i < last; i++) {
    count += histogram[i];
    mass += wide(histogram[BINS + i], histogram[2 * BINS + i]);
  }
  count = sum_before(count, WITH_TEAM);
  mass = sum_before(mass, WITH_TEAM);
  for (int i = last - 1; i >= first; i--) {
    count += histogram[i];
    mass += wide(histogram[BINS + i], histogram[2 * BINS + i]);
    above[i] = (uint)count;
    above[BINS + i] = (uint)mass;
    above[2 * BINS + i] = (uint)(mass >> 32);
  }
  MEET;
}

// Asks as long as the bins know the answers.
void search_bins(Search *s, const Options *o, __local const uint *above) {
  while (s->step != DONE) {
    const int bin = bin_of(s->probe);
    if (least_of(bin) != s->probe) return;
    const ulong mass = wide(above[BINS + bin], above[2 * BINS + bin]);
    advance(s, o, COUNTS(s) ? above[bin] : mass);
  }
}

typedef struct { // ids from `first` to `last`, of those the ones that weigh `least` or more
  int first, last;
  uint least;
} Wanted;

// What may be kept. Where the search has ended and nothing was cut, that is everything: then one
// slice is enough, that in which the sum passes `target`, which becomes a share of it.
Wanted wanted(const Search *s, __global const uint *masses, ulong *target) {
  Wanted all = {0, V, s->step == DONE ? max(least_kept(s), 1u) : s->probe};
  all.least = least_of(bin_of(all.least));
  if (s->step != DONE || s->cut) return all;
  int g = 0;
  ulong mass = wide(masses[0], masses[1]);
  while (g < GROUPS - 1 && mass <= *target) {
    *target -= mass;
    g++;
    mass = wide(masses[4 * g], masses[4 * g + 1]);
  }
  const Wanted slice = {first_item(g, GROUPS, V), first_item(g + 1, GROUPS, V), 1};
  return slice;
}

// This work-item's share of what a search asks of the candidates.
ulong found_by(const Search *s, __global const uint2 *candidates, int count) {
  ulong mine = 0;
  EACH(i, count) {
    const uint w = candidates[i].y;
    if (w >= s->probe) mine += COUNTS(s) ? 1 : w;
  }
  return mine;
}

// The first of the ids that equal the cut and are not kept: s->ties are below it.
int end_of_ties(const Search *s, __global const uint2 *candidates, int count, TEAM) {
  uint end = 0;
  for (uint bit = s->ties ? IDS_BIT : 0; bit; bit >>= 1) {
    ulong mine = 0;
    EACH(i, count) mine += candidates[i].y == s->cut && candidates[i].x < (end | bit);
    if (sum_of(mine, WITH_TEAM) <= s->ties) end |= bit;
  }
  return (int)end;
}

// The id at which the sum of the weights kept, in the order of ids, passes `target`.
int draw(const Search *s, uint end, ulong target, __global const uint2 *candidates, int count,
         TEAM) {
  uint id = 0;
  for (uint bit = count ? IDS_BIT : 0; bit; bit >>= 1) {
    ulong mine = 0;
    EACH(i, count) {
      const uint2 c = candidates[i];
      const bool kept = c.y > s->cut || (c.y == s->cut && c.x < end);
      if (kept && c.x < (id | bit)) mine += c.y;
    }
    if (sum_of(mine, WITH_TEAM) <= target) id |= bit;
  }
  return (int)id;
}

float logprob_of(float logit, float top, __global const uint *masses) {
  ulong mass = 0;
  for (int g = 0; g < GROUPS; g++) mass += wide(masses[4 * g + 2], masses[4 * g + 3]);
  return logit - top - log((float)mass / (float)UNIT);
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void sample_pick(__global int *sym, __global const float *logits, __global const int *sampling,
                 __global const float *group_tops, __global const int *top_ids,
                 __global const uint *weights, __global const uint *histogram,
                 __global const uint *masses, __global uint2 *candidates, __global int *tokens,
                 __global int *ids, __global float *logprobs) {
  __local ulong sums[WG];
  __local float *const tops = 0; // no values are compared
  __local uint above[3 * BINS], found;
  const int rows = ROWS, end = PAST + SEQ;
  for (int b = 0; b < B; b++) {
    const Options o = read_options(sampling, START(b), end);
    const Best best = best_of_slices(group_tops + 2 * b * GROUPS, top_ids + b * GROUPS);
    Search s = start_search(&o, best.id);
    const int random = s.step != DONE;
    add_up(histogram + b * 3 * BINS, above, WITH_TEAM);
    search_bins(&s, &o, above);
    ulong target = target_of(&s, sampling, end, b);
    const Wanted these = wanted(&s, masses + 4 * b * GROUPS, &target);
    const int whole = s.step == DONE;

    __global const uint *w = weights + (size_t)b * V;
    if (LANE == 0) found = 0;
    MEET;
    EACH_BETWEEN(i, these.first, random ? these.last : 0) {
      if (w[i] < these.least) continue;
      candidates[atomic_inc(&found)] = (uint2)(i, w[i]);
    }
    MEET;
    const int count = found;
    while (s.step != DONE) advance(&s, &o, sum_of(found_by(&s, candidates, count), WITH_TEAM));
    if (!whole) target = target_of(&s, sampling, end, b);
    const int ties = end_of_ties(&s, candidates, count, WITH_TEAM);
    const int drawn = draw(&s, ties, target, candidates, count, WITH_TEAM);
    if (LANE == 0) {
      const int id = random ? drawn : best.id;
      const size_t at = (size_t)b * (C + 1) + end;
      const float top = largest_logit(group_tops + 2 * b * GROUPS);
      if (o.logprobs)
        logprobs[at] = id < 0 ? 0.0f
                              : logprob_of(logits[((size_t)b * rows + rows - 1) * V + id], top,
                                           masses + 4 * b * GROUPS);
      tokens[b] = ids[at] = id;
    }
    MEET;
  }
  if (LANE == 0) PAST = end;
}
