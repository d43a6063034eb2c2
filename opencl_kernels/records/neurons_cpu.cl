// part[g, m] += h[m, i] * down_i over the share g of a ticket's records, h = act(gate . x) * up . x
//
//   Arguments, GATE, biases, activations: see neurons.clh              class cpu; any F and LENGTH
// A work-item has a range of shares. Records are read once for AT_ONCE rows of x. Those whose gate
// is 0 after its activation are done; of the others ups and downs are asked for, and wait until
// AT_ONCE of them can be added to a row's sums, which are loaded and stored that much more rarely.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#ifndef PREFETCH // records whose first parts are asked for ahead of their use; 0: none
#define PREFETCH 4
#endif
#include "records_cpu.clh"
#include "neurons.clh"
#define FIRST (GATE == 1 ? 0 : UP_PART) // part that is read of any record, and so many words
#define FIRST_WORDS (GATE == 1 ? PART_WORDS : 2 * PART_WORDS)

// A row of x, the sums that it makes, and records that wait to be added to these.
typedef struct {
  float16 x[VECTORS], sums[VECTORS], starts[BLOCKS], totals[BLOCKS];
  __global const uint *downs[AT_ONCE], *ups[AT_ONCE];
  float gates[AT_ONCE], biases[AT_ONCE];
  int count;
} work;

void add_waiting(work *w) {
  for (int q = 0; q < w->count; q++)
    w->gates[q] *= up_act(times(w->ups[q], w->x, w->starts, w->totals) + w->biases[q]);
  for (int q = w->count; q < AT_ONCE; q++) { // as often as is compiled
    w->downs[q] = w->downs[0];
    w->gates[q] = 0.0f;
  }
  for (int b = 0; b < (w->count ? BLOCKS : 0); b++)
    add_block(w->downs, w->gates, b, w->sums + b * STEPS);
  w->count = 0;
}

void neurons_cpu_body(int id, int n, NEURONS_PARAM) {
  work rows[AT_ONCE];
  for (int m0 = 0; m0 < (M); m0 += AT_ONCE) {
    const int count = min((M)-m0, AT_ONCE);
    for (int m = 0; m < count; m++) {
      load_row(x + (m0 + m) * LENGTH, rows[m].x);
      sum_blocks(rows[m].x, rows[m].starts, rows[m].totals);
    }
    for (int g = first_item(id, n, G); g < first_item(id + 1, n, G); g++) {
      for (int m = 0; m < count; m++) {
        for (int i = 0; i < VECTORS; i++) rows[m].sums[i] = 0.0f;
        rows[m].count = 0;
      }
      const int end = first_item(g + 1, G, COUNT);
      for (int r = first_item(g, G, COUNT); r < end; r++) {
        const int index = INDEX_OF(r);
        if (PREFETCH) prefetch_words(PART_OF(min(r + PREFETCH, end - 1), FIRST), FIRST_WORDS);
        for (int m = 0; m < count; m++) {
          work *w = &rows[m];
          float gate = 1.0f;
#if GATE == 1
          gate = gate_act(times(PART_OF(r, 0), w->x, w->starts, w->totals) + GATE_BIAS_OF(index));
#elif GATE == 2
          gate = gate_act(GIVEN_OF(m0 + m, index) + GATE_BIAS_OF(index));
#endif
          if (gate == 0.0f) continue;
          if (GATE == 1) prefetch_words(PART_OF(r, UP_PART), 2 * PART_WORDS);
          w->ups[w->count] = PART_OF(r, UP_PART);
          w->downs[w->count] = PART_OF(r, DOWN_PART);
          w->biases[w->count] = UP_BIAS_OF(index);
          w->gates[w->count++] = gate;
          if (w->count == AT_ONCE) add_waiting(w);
        }
      }
      for (int m = 0; m < count; m++) {
        add_waiting(&rows[m]);
        store_row(rows[m].sums, LENGTH, part + (g * (M) + m0 + m) * LENGTH, BEGINS);
      }
    }
  }
}

__kernel SERIAL void neurons_cpu(NEURONS_PARAM) {
  neurons_cpu_body(get_global_id(0), get_global_size(0), NEURONS_ARG);
}
