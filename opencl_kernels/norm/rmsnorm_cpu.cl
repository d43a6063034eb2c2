// y_MD = x * rsqrt(mean_D(x^2) + EPS) * gamma_D,  x = x_[.,D]  or, with ADD, sum = x + r
//
//   x, r X[., D], gamma f32[D], sum X[M, D], y Y[M, D]          class cpu; any D
//   ADD     1: the kernel is add_rmsnorm_cpu, reads r and writes sum
//   ROW(m)  row of x and r that output row m comes from (m, or the last ROWS of each SEQ)
//   WORKERS  work-items (grid only)
#include "common.clh"
#if ADD
#define NAME add_rmsnorm_cpu
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x,                                 \
      __global const STORAGE(X_HALF) *r, __global const float *gamma,                         \
      __global STORAGE(X_HALF) *sum, __global STORAGE(Y_HALF) *y
#define ARGS sym, x, r, gamma, sum, y
#else
#define NAME rmsnorm_cpu
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x, __global const float *gamma,    \
      __global STORAGE(Y_HALF) *y
#define ARGS sym, x, gamma, y
#endif

void JOIN(NAME, _body)(int id, int n, PARAMS) {
  const int rows = M;
  for (int m = SPLIT(id, n, rows); m < SPLIT(id + 1, n, rows); m++) {
    const size_t in = (size_t)(ROW(m)) * D, out = (size_t)m * D;
    float16 squares = 0.0f;
    for (int d = 0; d < D; d += 16) {
      float16 v = LOAD_SOME(X_HALF, x, in + d, D - d);
#if ADD
      v = v + LOAD_SOME(X_HALF, r, in + d, D - d);
      STORE_SOME(X_HALF, v, sum, out + d, D - d);
#endif
      squares = v * v + squares;
    }
    const float scale = rsqrt(sum16(squares) / D + EPS);
    for (int d = 0; d < D; d += 16) {
#if ADD
      const float16 v = LOAD_SOME(X_HALF, sum, out + d, D - d);
#else
      const float16 v = LOAD_SOME(X_HALF, x, in + d, D - d);
#endif
      STORE_SOME(Y_HALF, v * scale * LOAD_SOME(0, gamma, d, D - d), y, out + d, D - d);
    }
  }
}

__kernel SERIAL void NAME(PARAMS) {
  JOIN(NAME, _body)(get_global_id(0), get_global_size(0), ARGS);
}
