// tokens_B = ids[b, PAST+SEQ] = the next id of logits[b*ROWS+ROWS-1]; PAST += SEQ
//
//   Arguments and rules: see sampling.clh          class generic; any V; one work-group does all
// The only kernel that writes `sym`: the next step's position needs no word from the host.
#ifndef WG // work-items, a power of two
#define WG 256
#endif
#include "sampling.clh"
#include "team.clh"
#define OWN(lane) first_item(lane, WG, V) // first id of the range that is a work-item's own

#include "sampling_team.clh"
float value_at(__global const float *x, __global const uint *counts, int penalised,
               const Options *o, int i) {
  return value_of(x[i], penalised ? counts[i] : 0, o);
}

// The largest of the first `count` values; an id of -1 if that is no number.
Best best_of(__global const float *x, __global const uint *counts, int penalised,
             const Options *o, int count, TEAM) {
  Best best = {LOWEST, -1};
  EACH(i, count) {
    const float v = value_at(x, counts, penalised, o, i);
    const Best found = {v, v != v ? -2 : v >= LOWEST ? i : -1};
    best = better(best, found);
  }
  tops[LANE] = best.value;
  sums[LANE] = (ulong)(best.id + 2);
  MEET;
  if (LANE < HEADS) {
    for (int i = LANE + HEADS; i < WG; i += HEADS) best = better(best, best_at(i, WITH_TEAM));
    tops[LANE] = best.value;
    sums[LANE] = (ulong)(best.id + 2);
  }
  MEET;
  best = best_at(0, WITH_TEAM);
  for (int i = 1; i < HEADS; i++) best = better(best, best_at(i, WITH_TEAM));
  if (best.id < 0 || best.value > -LOWEST) best.id = -1;
  MEET;
  return best;
}

// This work-item's share of what a search asks.
ulong found_by(const Search *s, __global const uint *w) {
  ulong mine = 0;
  if (COUNTS(s)) {
    EACH(i, V) mine += w[i] >= s->probe;
  } else {
    EACH(i, V) mine += w[i] >= s->probe ? w[i] : 0;
  }
  return mine;
}

// Of the weights that equal the cut, all but the first s->ties become zero.
void drop_ties(__global uint *w, const Search *s, TEAM) {
  const int last = s->ties ? OWN(LANE + 1) : 0;
  ulong mine = 0;
  for (int i = OWN(LANE); i < last; i++) mine += w[i] == s->cut;
  ulong before = sum_before(mine, WITH_TEAM);
  for (int i = OWN(LANE); i < last; i++)
    if (w[i] == s->cut && before++ >= s->ties) w[i] = 0;
}

// The id at which the sum of the weights kept passes `target`. Only one work-item finds it; the sum
// of what all found is the id, known to each.
int draw(__global const uint *w, const Search *s, ulong target, TEAM) {
  const uint least = least_kept(s);
  const int last = s->mass ? OWN(LANE + 1) : 0;
  ulong mine = 0;
  for (int i = OWN(LANE); i < last; i++) mine += w[i] >= least ? w[i] : 0;
  const ulong before = sum_before(mine, WITH_TEAM);
  int i = 0;
  if (before <= target && target < before + mine) {
    ulong left = target - before;
    for (i = OWN(LANE); w[i] < least || w[i] <= left; i++) left -= w[i] >= least ? w[i] : 0;
  }
  return (int)sum_of(i, WITH_TEAM);
}

// The id at position `end` of batch row `row`; `ids` and `logprobs` are those of this row.
int sample_row(__global const float *x, __global const int *sampling, __global uint *counts,
               __global const int *ids, __global float *logprobs, int row, int start, int end,
               TEAM) {
  const Options o = read_options(sampling, start, end);
  // How often the text has each id;
  EACH(i, o.penalised ? V : 0) counts[i] = 0;
  MEET;
  for (int i = o.first + LANE; i < o.last; i += WG)
    if (ids[i] >= 0 && ids[i] < V) atomic_inc(counts + ids[i]);
  MEET;
  // the best of all, which is the answer where nothing is random;
  const Best best = best_of(x, counts, o.penalised, &o, V, WITH_TEAM);
  Search s = start_search(&o, best.id);
  const int random = s.step != DONE;
  const float scale = LOG2_E / o.temperature;
  // weights in place of the counts, cut, and drawn from;
  EACH(i, random ? V : 0)
    counts[i] = WEIGHT(uint, value_at(x, counts, o.penalised, &o, i), best.value, scale);
  MEET;
  while (s.step != DONE) advance(&s, &o, sum_of(found_by(&s, counts), WITH_TEAM));
  drop_ties(counts, &s, WITH_TEAM);
  const ulong target = target_of(&s, sampling, end, row);
  const int drawn = draw(counts, &s, target, WITH_TEAM), id = random ? drawn : best.id;
  // and its logprob, before penalties, temperature and cuts.
  const int count = o.logprobs ? V : 0;
  const float top = best_of(x, counts, 0, &o, count, WITH_TEAM).value;
  ulong mine = 0;
  EACH(i, count) mine += WEIGHT(uint, x[i], top, LOG2_E);
  const ulong mass = sum_of(mine, WITH_TEAM);
  if (count && LANE == 0)
    logprobs[end] = id < 0 ? 0.0f : x[id] - top - log((float)mass / (float)UNIT);
  return id;
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void sample(PARAMS) {
  __local ulong sums[WG];
  __local float tops[WG];
  const int seq = SEQ, past = PAST, rows = ROWS;
  for (int b = 0; b < B; b++)
    for (int i = LANE; i < seq; i += WG) ids[b * (C + 1) + past + i] = tokens[b * seq + i];
  MEET;
  for (int b = 0; b < B; b++) {
    const size_t row = (size_t)b * (C + 1);
    const int next = sample_row(logits + ((size_t)b * rows + rows - 1) * V, sampling, counts,
                                ids + row, logprobs + row, b, START(b), past + seq, WITH_TEAM);
    if (LANE == 0) tokens[b] = ids[row + past + seq] = next;
    MEET;
  }
  if (LANE == 0) PAST = past + seq;
}
