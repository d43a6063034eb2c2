// y[m, t] = W[e] x[m, t] + bias[e] of chosen experts                  class cpu; any N and K
//
//   Arguments, SHARED, BIAS, GLU, EPILOGUE, MIX: see experts.clh; w of float or half in the layout n16
// Row by row, each as gemv_cpu makes it; only the matrices that were chosen are read.
#ifndef WORKERS // work-items of the launch; each has a range of columns of every row
#define WORKERS 8
#endif
#ifndef PREFETCH // cache lines that W is asked for ahead of its use; 0: leave it to the CPU
#define PREFETCH 32
#endif
#include "experts.clh"
#include "gemv_cpu.clh"
#include "gemv_prefetch_cpu.clh"
#include "experts_cpu.clh"

// Row m of y from a row of x and one matrix.
void multiply(int id, int n, int m, const float16 *row, WEIGHT_PARAM BIAS_PARAM
              OUTPUT_PARAM) {
  const float *v = (const float *)row; // x, an element at a time
#include "gemv_pairs_cpu.clh"
}

void experts_cpu_body(int id, int n, EXPERTS_PARAMS) {
  float16 row[VECTORS];
  for (int m = 0; m < M; m++) {
    BEGIN_ROW(m)
    for (int t = 0; t < CHOICES; t++) {
      const int one = m * CHOICES + t, e = EXPERT_OF(one);
      if (IS_NOBODY(e)) clear_row(id, n, one, y);
      if (e < 0) continue;
      FIND(e)
      load_row(x + (size_t)ROW_OF_X(one) * K, row);
      GATE_AT(m, t)
      multiply(id, n, MIX ? m : one, row, WEIGHT_AT(e) BIAS_AT(e) OUTPUT_ARG);
    }
  }
}

__kernel SERIAL void experts_cpu(EXPERTS_PARAMS) {
  experts_cpu_body(get_global_id(0), get_global_size(0), EXPERTS_ARGS);
}
