// v[m, i] = the first part of record i . x_m, for each record of a ticket                class cpu
//
//   ticket, slots (records.clh), x X[M, LENGTH], v f32[M, F]; any F and LENGTH
// A work-item has a range of records, AT_ONCE of which are read once for as many rows of x.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#ifndef PREFETCH // records that are asked for ahead of their use; 0: none
#define PREFETCH 8
#endif
#ifndef F
#define F 64
#endif
#include "records_cpu.clh"
#define ROWS_PARAM TICKET_PARAM __global const STORAGE(X_HALF) *x, __global float *v

void record_rows_cpu_body(int id, int n, ROWS_PARAM) {
  float16 rows[AT_ONCE][VECTORS], starts[AT_ONCE][BLOCKS];
  float8 totals[AT_ONCE][BLOCKS];
  for (int m0 = 0; m0 < (M); m0 += AT_ONCE) {
    const int count = min((M)-m0, AT_ONCE);
    for (int m = 0; m < count; m++) {
      load_row(x + (m0 + m) * LENGTH, rows[m]);
      sum_blocks(rows[m], starts[m], totals[m]);
    }
    const int begin = first_item(id, n, COUNT), end = first_item(id + 1, n, COUNT);
    ahead_t ahead = start_ahead(TICKET_ARG begin, PREFETCH, end, 0, PART_WORDS);
    for (int r = begin; r < end; r += AT_ONCE) {
      __global const uint *parts[AT_ONCE];
      float found[AT_ONCE];
      PARTS_OF(parts, r, 0, end)
      follow(&ahead, r, PREFETCH, end);
      for (int m = 0; m < count; m++) {
        times(parts, PREFETCH && m == 0 ? &ahead : 0, LINES(PART_WORDS, BLOCKS), rows[m],
              starts[m], totals[m], found);
        for (int q = 0; q < min(end - r, AT_ONCE); q++)
          v[(m0 + m) * F + INDEX_OF(r + q)] = found[q];
      }
    }
  }
}

__kernel SERIAL void record_rows_cpu(ROWS_PARAM) {
  record_rows_cpu_body(get_global_id(0), get_global_size(0), TICKET_ARG x, v);
}
