// part[g, m] += h[m, i] * down_i over the share g of a ticket's records, h = act(gate . x) * up . x
//
//   Arguments, GATE, biases, activations: see neurons.clh              class cpu; any F and LENGTH
// A work-item has a range of shares. Records are read once for AT_ONCE rows of x, AT_ONCE of their
// gates at a time. Those whose gate is 0 after its activation are done; the others' ups and downs
// wait until AT_ONCE of them can be added to a row's sums.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#ifndef PREFETCH // records that are asked for ahead of their use; 0: none
#define PREFETCH 8
#endif
#include "records_cpu.clh"
#include "neurons.clh"
#if GATE == 1
#define GATE_OF(v, m, index) gate_act(v + GATE_BIAS_OF(index))
#elif GATE == 2
#define GATE_OF(v, m, index) gate_act(GIVEN_OF(m, index) + GATE_BIAS_OF(index))
#else
#define GATE_OF(v, m, index) 1.0f
#endif
#define SHORT (GATE == 1 && SPARSE) // of most records only the gate is read
#define ASKED (SHORT ? PART_WORDS : (GATE == 1 ? 3 : 2) * PART_WORDS) // words of each record, from
#define ASKED_FIRST (GATE == 1 ? 0 : UP_PART * PART_WORDS)
#define ASKED_LINES LINES(ASKED, ASKED / PART_WORDS * BLOCKS) // with each block

// A row of x, the sums that it makes, and records that wait to be added to these.
typedef struct {
  float16 x[VECTORS], sums[VECTORS], starts[BLOCKS];
  float8 totals[BLOCKS];
  __global const uint *downs[AT_ONCE], *ups[AT_ONCE];
  float gates[AT_ONCE], biases[AT_ONCE];
  ahead_t *ahead; // beside all but the gates; 0: of another row, or none
  int count;
} work;

void add_waiting(work *w) {
  float ups[AT_ONCE];
  if (w->count == 0) return;
  for (int q = w->count; q < AT_ONCE; q++) { // as often as is compiled
    w->ups[q] = w->ups[0];
    w->downs[q] = w->downs[0];
    w->gates[q] = 0.0f;
  }
  times(w->ups, w->ahead, ASKED_LINES, w->x, w->starts, w->totals, ups);
  for (int q = 0; q < w->count; q++) w->gates[q] *= up_act(ups[q] + w->biases[q]);
  for (int b = 0; b < BLOCKS; b++)
    add_block(w->downs, w->ahead, ASKED_LINES, w->gates, b, w->sums + b * STEPS);
  w->count = 0;
}

// Record r with its gate, unless that is 0.
void add_record(work *w, int r, float gate, NEURONS_PARAM) {
  if (gate == 0.0f) return;
  if (SHORT) prefetch_words(PART_OF(r, UP_PART), 2 * PART_WORDS);
  w->ups[w->count] = PART_OF(r, UP_PART);
  w->downs[w->count] = PART_OF(r, DOWN_PART);
  w->biases[w->count] = UP_BIAS_OF(INDEX_OF(r));
  w->gates[w->count++] = gate;
  if (w->count == AT_ONCE) add_waiting(w);
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
      const int begin = first_item(g, G, COUNT), end = first_item(g + 1, G, COUNT);
      ahead_t ahead = start_ahead(TICKET_ARG begin, PREFETCH, COUNT, ASKED_FIRST, ASKED);
      ahead_t *asking = PREFETCH ? &ahead : 0;
      for (int m = 0; m < count; m++) {
        for (int i = 0; i < VECTORS; i++) rows[m].sums[i] = 0.0f;
        rows[m].count = 0;
        rows[m].ahead = SHORT || m ? 0 : asking;
      }
      for (int r = begin; r < end; r += AT_ONCE) {
        const int some = min(end - r, AT_ONCE);
        follow(&ahead, r, PREFETCH, COUNT);
        float gates[AT_ONCE];
#if GATE == 1
        __global const uint *parts[AT_ONCE];
        PARTS_OF(parts, r, 0, end)
#endif
        for (int m = 0; m < count; m++) {
#if GATE == 1
          times(parts, m ? 0 : asking, ASKED_LINES, rows[m].x, rows[m].starts, rows[m].totals,
                gates);
#endif
          for (int q = 0; q < some; q++)
            add_record(&rows[m], r + q, GATE_OF(gates[q], m0 + m, INDEX_OF(r + q)), NEURONS_ARG);
        }
      }
      for (int m = 0; m < count; m++) {
        add_waiting(&rows[m]);
        store_row(rows[m].sums, part + (g * (M) + m0 + m) * LENGTH, BEGINS);
      }
    }
  }
}

__kernel SERIAL void neurons_cpu(NEURONS_PARAM) {
  neurons_cpu_body(get_global_id(0), get_global_size(0), NEURONS_ARG);
}
