// part[g, m] += h[m, i] * down_i over the share g of a ticket's records, h = act(gate . x) * up . x
//
//   Arguments, GATE, biases, activations: see neurons.clh              class cpu; any F and LENGTH
// A work-item has a range of shares. A record is read once for AT_ONCE rows of x. Where the gate is
// 0 after its activation, neither up nor down is read; the downs of others are added AT_ONCE at a
// time, so that sums are loaded and stored more rarely.
#include "records_cpu.clh"
#include "neurons.clh"

// Downs that wait to be added to a row's sums.
typedef struct {
  __global const uint *parts[AT_ONCE];
  float h[AT_ONCE];
  int count;
} waiting;

void add_waiting(waiting *w, float16 *sums) {
  if (w->count == 0) return;
  for (int q = w->count; q < AT_ONCE; q++) {
    w->parts[q] = w->parts[0];
    w->h[q] = 0.0f;
  }
  for (int b = 0; b < BLOCKS; b++) add_block(w->parts, w->h, b, sums + b * STEPS);
  w->count = 0;
}

void neurons_cpu_body(int id, int n, NEURONS_PARAM) {
  float16 rows[AT_ONCE][VECTORS], sums[AT_ONCE][VECTORS];
  float16 starts[AT_ONCE][BLOCKS], totals[AT_ONCE][BLOCKS];
  waiting downs[AT_ONCE];
  for (int m0 = 0; m0 < (M); m0 += AT_ONCE) {
    const int count = min((M)-m0, AT_ONCE);
    for (int m = 0; m < count; m++) {
      load_row(x + (m0 + m) * LENGTH, rows[m]);
      sum_blocks(rows[m], starts[m], totals[m]);
    }
    for (int g = first_item(id, n, G); g < first_item(id + 1, n, G); g++) {
      for (int m = 0; m < count; m++) {
        for (int i = 0; i < VECTORS; i++) sums[m][i] = 0.0f;
        downs[m].count = 0;
      }
      for (int r = first_item(g, G, COUNT); r < first_item(g + 1, G, COUNT); r++) {
        const int index = INDEX_OF(r);
        for (int m = 0; m < count; m++) {
          float h = 1.0f;
#if GATE == 1
          h = gate_act(times(PART_OF(r, 0), rows[m], starts[m], totals[m]) + GATE_BIAS_OF(index));
#elif GATE == 2
          h = gate_act(GIVEN_OF(m0 + m, index) + GATE_BIAS_OF(index));
#endif
          if (h == 0.0f) continue;
          const float up = times(PART_OF(r, UP_PART), rows[m], starts[m], totals[m]);
          h *= up_act(up + UP_BIAS_OF(index));
          if (h == 0.0f) continue;
          waiting *w = &downs[m];
          w->parts[w->count] = PART_OF(r, DOWN_PART);
          w->h[w->count++] = h;
          if (w->count == AT_ONCE) add_waiting(w, sums[m]);
        }
      }
      for (int m = 0; m < count; m++) {
        add_waiting(&downs[m], sums[m]);
        store_row(sums[m], part + (g * (M) + m0 + m) * LENGTH, 0, LENGTH, BEGINS);
      }
    }
  }
}

__kernel SERIAL void neurons_cpu(NEURONS_PARAM) {
  neurons_cpu_body(get_global_id(0), get_global_size(0), NEURONS_ARG);
}
