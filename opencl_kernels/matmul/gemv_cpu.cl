// y_MN = x_MK * W_NK^T for few rows: M = 1 in decode                       class cpu; any N and K
//
//   Arguments, NORM, BIAS, RESIDUAL, GLU: see matmul.clh; w of float or half in the layout n16
// Two blocks of 16 outputs go at once, two accumulators each: two streams, four chains of FMAs.
// With GLU the two blocks are gate and up of the same 16 outputs.
#ifndef WORKERS // work-items of the launch; each streams its range of W once and in order
#define WORKERS 8
#endif
#ifndef PREFETCH // cache lines that W is asked for ahead of its use; 0: leave it to the CPU
#define PREFETCH 32
#endif
#include "matmul.clh"
#include "gemv_cpu.clh"
#define LINES (W_HALF ? 1 : 2) // cache lines that two k of a stream take

// Asks for what a stream reads PREFETCH lines after `at`.
void prefetch_step(__global const STORAGE(W_HALF) *at) {
  UNROLL for (int line = 0; line < (PREFETCH ? LINES : 0); line++)
    PREFETCH_LINE((__global const char *)at + (PREFETCH + line) * 64, 3);
}

void gemv_cpu_body(int id, int n, PARAMS) {
  float16 row[VECTORS];
  for (int m = 0; m < (M); m++) {
    prepare(x, GAMMA_ARG m, row);
    const float *v = (const float *)row; // x, an element at a time
    for (int pair = first_item(id, n, PAIRS); pair < first_item(id + 1, n, PAIRS); pair++) {
      const size_t w0 = (size_t)pair * 32 * K;
      const size_t w1 = pair * 2 + 1 < BLOCKS ? w0 + (size_t)16 * K : w0; // a lone last block
      float16 a0 = 0.0f, b0 = 0.0f, a1 = 0.0f, b1 = 0.0f;
      for (int k = 0; k + 1 < K; k += 2) {
        const size_t at = (size_t)k * 16;
        prefetch_step(w + w0 + at);
        prefetch_step(w + w1 + at);
        a0 = v[k] * LOAD16(W_HALF, w, w0 + at) + a0;
        b0 = v[k] * LOAD16(W_HALF, w, w1 + at) + b0;
        a1 = v[k + 1] * LOAD16(W_HALF, w, w0 + at + 16) + a1;
        b1 = v[k + 1] * LOAD16(W_HALF, w, w1 + at + 16) + b1;
      }
      if (K % 2) { // the last k has no partner
        a0 = v[K - 1] * LOAD16(W_HALF, w, w0 + (size_t)(K - 1) * 16) + a0;
        b0 = v[K - 1] * LOAD16(W_HALF, w, w1 + (size_t)(K - 1) * 16) + b0;
      }
      finish(a0 + a1, b0 + b1, pair, m, BIAS_ARG RESIDUAL_ARG y);
    }
  }
}

__kernel SERIAL void gemv_cpu(PARAMS) {
  gemv_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
