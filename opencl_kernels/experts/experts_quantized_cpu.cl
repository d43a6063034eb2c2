// y[m, t] = W[e] x[m, t] + bias[e] of chosen experts, W in codes       class cpu; any N and K
//
//   Arguments, SHARED, BIAS, GLU, EPILOGUE, MIX: see experts.clh; the codes: quantized.clh
// Row by row, each as gemv_quantized_cpu makes it; only the matrices that were chosen are read.
#ifndef WORKERS // work-items of the launch; each has a range of columns of every row
#define WORKERS 8
#endif
#ifndef PREFETCH // cache lines that codes are asked for ahead of their use; 0: leave it to the CPU
#define PREFETCH 64
#endif
#ifndef HINT // of that prefetch: 3 to all caches, 2 past the first
#define HINT 3
#endif
#ifndef BITS
#define BITS 4
#endif
#include "experts.clh"
#include "gemv_cpu.clh"
#include "gemv_quantized_cpu.clh"
#include "experts_cpu.clh"

// Row m of y from a row of x, the sums of its groups, and one matrix.
void multiply(int id, int n, int m, const float16 *row, const float *starts, const float *zeros,
              WEIGHT_PARAM BIAS_PARAM OUTPUT_PARAM) {
#include "gemv_quantized_pairs_cpu.clh"
}

void experts_quantized_cpu_body(int id, int n, EXPERTS_PARAMS) {
  float16 row[GROUPS_K * STEPS];
  float starts[GROUPS_K], zeros[GROUPS_K];
  for (int m = 0; m < M; m++) {
    BEGIN_ROW(m)
    for (int t = 0; t < CHOICES; t++) {
      const int one = m * CHOICES + t, e = EXPERT_OF(one);
      if (IS_NOBODY(e)) clear_row(id, n, one, y);
      if (e < 0) continue;
      FIND(e)
      load_row(x + (size_t)ROW_OF_X(one) * K, row);
      for (int i = VECTORS; i < GROUPS_K * STEPS; i++) row[i] = 0.0f; // the last group is filled up
      sum_groups(row, starts, zeros);
      GATE_AT(m, t)
      multiply(id, n, MIX ? m : one, row, starts, zeros, WEIGHT_AT(e) BIAS_AT(e) OUTPUT_ARG);
    }
  }
}

__kernel SERIAL void experts_quantized_cpu(EXPERTS_PARAMS) {
  experts_quantized_cpu_body(get_global_id(0), get_global_size(0), EXPERTS_ARGS);
}
