// tokens_B = ids[b, PAST+SEQ] = the next id of logits[b*ROWS+ROWS-1]; PAST += SEQ
//
//   Arguments and rules: see sampling.clh           class cpu; any V; the first work-item does all
// The only kernel that writes `sym`: the next step's position needs no word from the host.
#ifndef WORKERS // work-items of the launch
#define WORKERS 1
#endif
#include "sampling.clh"
#include "sampling_cpu.clh"
#define RANGE 1024 // ids whose weights `draw` adds up at once

// counts[V] = how often the text has each id, where penalties look.
void count_ids(__global const int *ids, __global uint *counts, const Options *o) {
  for (int i = 0; i < V; i += 16) store16((uint16)0, counts, i);
  for (int i = o->first; i < o->last; i++)
    if (ids[i] >= 0 && ids[i] < V) counts[ids[i]]++;
}

typedef struct { // an id of -1: no numbers
  int id;
  float value;
} Best;

// The largest value and the lowest id that has it.
Best best_of(__global const float *x, __global const uint *counts, const Options *o) {
  float16 best = LOWEST;
  int16 best_id = -1, bad = 0;
  int16 lanes = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int i = 0; i < V; i += 16) {
    const float16 v = values16(x, counts, o, i);
    const int16 above = (v > best) | ((best_id < 0) & (v >= best));
    bad |= (v != v);
    best = select(best, v, above);
    best_id = select(best_id, lanes, above);
    lanes += 16;
  }
  float value[16];
  int id[16], wrong[16], nan = 0; // lanes meet through memory: see tails in storage.clh
  vstore16(best, 0, value);
  vstore16(best_id, 0, id);
  vstore16(bad, 0, wrong);
  Best top = {-1, LOWEST};
  for (int k = 0; k < 16; k++) {
    nan |= wrong[k];
    if (id[k] < 0) continue;
    if (top.id < 0 || value[k] > top.value || (value[k] == top.value && id[k] < top.id)) {
      top.value = value[k];
      top.id = id[k];
    }
  }
  if (nan || top.value > -LOWEST) top.id = -1;
  return top;
}

// counts[V] = the weights; those of the text have served.
void weigh(__global const float *x, __global uint *counts, const Options *o, float top) {
  const float scale = LOG2_E / o->temperature;
  for (int i = 0; i < V; i += 16)
    store16(WEIGHT(uint16, values16(x, counts, o, i), top, scale), counts, i);
}

// The sum of the weights of the model's own distribution, as UNIT for its largest.
ulong mass_of(__global const float *x, float top) {
  ulong16 sum = 0;
  for (int i = 0; i < V; i += 16)
    sum += convert_ulong16(WEIGHT(uint16, logits16(x, i), top, LOG2_E));
  return sum_of(sum);
}

// Of the weights that equal the cut, all but the first s->ties become zero.
void drop_ties(__global uint *w, const Search *s) {
  ulong left = s->ties;
  for (int i = 0; i < V; i += 16) {
    if (!any(weights16(w, i) == s->cut)) continue;
    for (int k = i; k < min(i + 16, V); k++) {
      if (w[k] != s->cut) continue;
      if (left == 0) w[k] = 0;
      else left--;
    }
  }
}

// The id at which the sum of the weights kept passes `target`: first its range, then itself.
int draw(__global const uint *w, uint least, ulong target) {
  int i = 0;
  for (; i + RANGE < V; i += RANGE) {
    const ulong mass = mass_between(w, least, i, i + RANGE);
    if (mass > target) break;
    target -= mass;
  }
  int id = -1;
  for (; i < V; i++) {
    if (w[i] < least) continue;
    id = i;
    if (w[i] > target) break;
    target -= w[i];
  }
  return id;
}

// The id at position `end` of batch row `row`; `ids` and `logprobs` are those of this row.
int sample_row(__global const float *x, __global const int *sampling, __global uint *counts,
               __global const int *ids, __global float *logprobs, int row, int start, int end) {
  Options o = read_options(sampling, start, end);
  if (o.penalised) count_ids(ids, counts, &o);
  const Best best = best_of(x, counts, &o);
  int id = best.id;
  Search s = start_search(&o, id);
  if (s.step != DONE) { // not greedy: cut, then draw
    weigh(x, counts, &o, best.value);
    while (s.step != DONE)
      advance(&s, &o,
              COUNTS(&s) ? count_from(counts, s.probe) : mass_between(counts, s.probe, 0, V));
    if (s.ties) drop_ties(counts, &s);
    id = draw(counts, least_kept(&s), target_of(&s, sampling, end, row));
  }
  if (o.logprobs) { // before penalties, temperature and cuts
    o.penalised = 0;
    const float top = best_of(x, counts, &o).value;
    logprobs[end] = id < 0 ? 0.0f : x[id] - top - log((float)mass_of(x, top) / (float)UNIT);
  }
  return id;
}

void sample_cpu_body(int id, int n, PARAMS) {
  if (id != 0) return;
  const int seq = SEQ, past = PAST, rows = ROWS;
  for (int b = 0; b < B; b++)
    for (int i = 0; i < seq; i++) ids[b * (C + 1) + past + i] = tokens[b * seq + i];
  for (int b = 0; b < B; b++) {
    const size_t row = (size_t)b * (C + 1);
    const int next = sample_row(logits + ((size_t)b * rows + rows - 1) * V, sampling, counts,
                                ids + row, logprobs + row, b, START(b), past + seq);
    tokens[b] = ids[row + past + seq] = next;
  }
  PAST += seq;
}

__kernel SERIAL void sample_cpu(PARAMS) {
  sample_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
