// acc[g, m] += c[m, i] * record i over the share g of a ticket's records                class cpu
//
//   ticket, slots (records.clh), c X[M, F], acc f32[G][M][PARTS * LENGTH]; any F and LENGTH
// An item is a part, for a row and a share: its sums stay in the first cache while all records
// pass, AT_ONCE at a time.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#ifndef PREFETCH // records that are asked for ahead of their use; 0: none
#define PREFETCH 8
#endif
#ifndef F
#define F 64
#endif
#ifndef G
#define G 1
#endif
#include "records_cpu.clh"
#define COLUMNS_PARAM TICKET_PARAM __global const STORAGE(X_HALF) *c, __global float *acc

// sums += c * part p, over the records r to `end`
void add_records(TICKET_PARAM __global const STORAGE(X_HALF) *c, int p, int r, int end,
                 float16 *sums) {
  __global const uint *parts[AT_ONCE];
  float factors[AT_ONCE];
  ahead_t ahead = start_ahead(TICKET_ARG r, PREFETCH, end, p * PART_WORDS, PART_WORDS);
  for (int i = 0; i < VECTORS; i++) sums[i] = 0.0f;
  while (r < end) {
    int count = 0;
    follow(&ahead, r, PREFETCH, end);
    for (; r < end && count < AT_ONCE; r++) {
      factors[count] = LOAD(X_HALF, c, INDEX_OF(r));
      parts[count] = PART_OF(r, p);
      count += factors[count] != 0.0f;
    }
    if (count == 0) return;
    for (int q = count; q < AT_ONCE; q++) {
      parts[q] = parts[0];
      factors[q] = 0.0f;
    }
    for (int b = 0; b < BLOCKS; b++)
      add_block(parts, PREFETCH ? &ahead : 0, LINES(PART_WORDS, BLOCKS), factors, b,
                sums + b * STEPS);
  }
}

void columns_cpu_body(int id, int n, COLUMNS_PARAM) {
  float16 sums[VECTORS];
  const int items = G * (M)*PARTS;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int p = item % PARTS, m = item / PARTS % (M), g = item / PARTS / (M);
    add_records(TICKET_ARG c + m * F, p, first_item(g, G, COUNT), first_item(g + 1, G, COUNT),
                sums);
    store_row(sums, acc + item * LENGTH, BEGINS);
  }
}

__kernel SERIAL void columns_cpu(COLUMNS_PARAM) {
  columns_cpu_body(get_global_id(0), get_global_size(0), TICKET_ARG c, acc);
}
