// y_MN = x_MK * W_NK^T (+ bias_N) for few rows: M = 1 in decode            class cpu; any N and K
// GLU: y_MF = act(gate_MF) * up_MF of that product, whose W is gate and up interleaved by 16;
//   ACT 0 silu, 1 relu
//
//   x X[M, LDX], w W[ceil(N/16)][K][16] (n16), bias f32[N] where BIAS, y Y[M, LDY] from column Y0
//   GROUPS    work-items (grid only); each streams its share of W once and in order
//   PREFETCH  cache lines that W is asked for ahead of its use (default 32); 0: leave it to the CPU
// Two blocks of 16 outputs go at once, two accumulators each: two streams, four chains of FMAs.
// With GLU the two blocks are gate and up of the same 16 outputs.
#include "common.cl"
#define BLOCKS CEIL_DIV(N, 16)
#define PAIRS CEIL_DIV(BLOCKS, 2)
#if BIAS
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x,                                 \
      __global const STORAGE(W_HALF) *w, __global const float *bias, __global STORAGE(Y_HALF) *y
#define ARGS sym, x, w, bias, y
#define START_AT(n0) LOAD_SOME(0, bias, n0, N - (n0))
#else
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x,                                 \
      __global const STORAGE(W_HALF) *w, __global STORAGE(Y_HALF) *y
#define ARGS sym, x, w, y
#define START_AT(n0) 0.0f
#endif
#define WIDTH (16 * sizeof(STORAGE(W_HALF)))       // bytes of a k in a stream
#if PREFETCH
#define AHEAD(at) ASK_FOR((__global const char *)(w + (at)) + PREFETCH * 64, 2 * WIDTH)
#else
#define AHEAD(at)
#endif

void gemv_cpu_body(int id, int n, PARAMS) {
  for (int pair = SPLIT(id, n, PAIRS); pair < SPLIT(id + 1, n, PAIRS); pair++) {
    const int n0 = pair * 32, n1 = n0 + 16;
    const size_t w0 = (size_t)n0 * K, w1 = n1 < N ? (size_t)n1 * K : w0;   // a lone last block
    for (int m = 0; m < (M); m++) {
      const size_t row = (size_t)m * LDX;
      float16 a0 = START_AT(n0), b0 = START_AT(n1), a1 = 0.0f, b1 = 0.0f;
      for (int k = 0; k + 1 < K; k += 2) {
        const float s = LOAD(X_HALF, x, row + k), t = LOAD(X_HALF, x, row + k + 1);
        const size_t at = (size_t)k * 16;
        AHEAD(w0 + at)
        AHEAD(w1 + at)
        a0 = s * LOAD16(W_HALF, w, w0 + at) + a0;
        b0 = s * LOAD16(W_HALF, w, w1 + at) + b0;
        a1 = t * LOAD16(W_HALF, w, w0 + at + 16) + a1;
        b1 = t * LOAD16(W_HALF, w, w1 + at + 16) + b1;
      }
#if K % 2
      const float s = LOAD(X_HALF, x, row + K - 1);
      a0 = s * LOAD16(W_HALF, w, w0 + (size_t)(K - 1) * 16) + a0;
      b0 = s * LOAD16(W_HALF, w, w1 + (size_t)(K - 1) * 16) + b0;
#endif
      const float16 a = a0 + a1, b = b0 + b1;
      const size_t out = (size_t)m * LDY + Y0;
#if GLU
      STORE_SOME(Y_HALF, ACTIVATE(a) * b, y, out + n0 / 2, F - n0 / 2);
#else
      STORE_SOME(Y_HALF, a, y, out + n0, N - n0);
      STORE_SOME(Y_HALF, b, y, out + n1, N - n1);
#endif
    }
  }
}

__kernel SERIAL void gemv_cpu(PARAMS) {
  gemv_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
