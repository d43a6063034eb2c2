// acc[g, m] += c[m, i] * record i over the share g of a ticket's records                class cpu
//
//   ticket, slots (records.clh), c X[M, F], acc f32[G][M][PARTS * LENGTH]; any F and LENGTH
// An item is RUN blocks of a part, for a row and a share: their sums stay in the first cache while
// all records pass, AT_ONCE at a time.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#ifndef RUN // blocks of eight groups of codes, or of 256 halves
#define RUN 4
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
#define RUNS CEIL_DIV(BLOCKS, RUN)
#define COLUMNS_PARAM TICKET_PARAM __global const STORAGE(X_HALF) *c, __global float *acc

// sums += c * blocks b0 to b1 of part p, over the records r to `end`
void add_records(TICKET_PARAM __global const STORAGE(X_HALF) *c, int p, int b0, int b1, int r,
                 int end, float16 *sums) {
  __global const uint *parts[AT_ONCE];
  float factors[AT_ONCE];
  while (r < end) {
    int count = 0;
    for (; r < end && count < AT_ONCE; r++) {
      if (PREFETCH) prefetch_blocks(PART_OF(min(r + PREFETCH, end - 1), p), b0, b1);
      factors[count] = LOAD(X_HALF, c, INDEX_OF(r));
      parts[count] = PART_OF(r, p);
      count += factors[count] != 0.0f;
    }
    if (count == 0) return;
    for (int q = count; q < AT_ONCE; q++) {
      parts[q] = parts[0];
      factors[q] = 0.0f;
    }
    for (int b = b0; b < b1; b++) add_block(parts, 0, factors, b, sums + (b - b0) * STEPS);
  }
}

void columns_cpu_body(int id, int n, COLUMNS_PARAM) {
  float16 sums[RUN * STEPS];
  const int items = G * (M)*PARTS * RUNS;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int b0 = item % RUNS * RUN, b1 = min(b0 + RUN, BLOCKS), row = item / RUNS;
    const int p = row % PARTS, m = row / PARTS % (M), g = row / PARTS / (M);
    for (int i = 0; i < RUN * STEPS; i++) sums[i] = 0.0f;
    add_records(TICKET_ARG c + m * F, p, b0, b1, first_item(g, G, COUNT),
                first_item(g + 1, G, COUNT), sums);
    const int k0 = b0 * STEPS * 16;
    store_row(sums, min(RUN * STEPS * 16, LENGTH - k0), acc + row * LENGTH + k0, BEGINS);
  }
}

__kernel SERIAL void columns_cpu(COLUMNS_PARAM) {
  columns_cpu_body(get_global_id(0), get_global_size(0), TICKET_ARG c, acc);
}
