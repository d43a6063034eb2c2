// y_MD = x * rsqrt(mean_D(x^2) + EPS) * gamma_D,  x = x_[.,D]  or, with ADD, sum = x + r
//
//   Arguments, ADD, RESIDUAL, ROW: see norm.clh                               class cpu; any D
// A work-item has a range of rows.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#include "norm.clh"

void JOIN(NAMED(rmsnorm_cpu), _body)(int id, int n, PARAMS) {
  const int rows = M;
  for (int m = first_item(id, n, rows); m < first_item(id + 1, n, rows); m++) {
    const size_t in = (size_t)(ROW(m)) * D, out = (size_t)m * D;
    float16 squares = 0.0f; // a sum for each of 16 lanes
    for (int d = 0; d < D; d += 16) {
      float16 v = LOAD_SOME(X_HALF, x, in + d, D - d);
#if ADD
      v = v + LOAD_SOME(X_HALF, r, in + d, D - d);
      STORE_SOME(X_HALF, v, sum, out + d, D - d);
#endif
      squares = v * v + squares;
    }
    const float scale = rsqrt(sum16(squares) / D + EPS);
    for (int d = 0; d < D; d += 16) { // the row once more, from a cache
#if ADD
      const float16 v = LOAD_SOME(X_HALF, sum, out + d, D - d);
#else
      const float16 v = LOAD_SOME(X_HALF, x, in + d, D - d);
#endif
      const float16 normed = v * scale * LOAD_SOME(0, gamma, d, D - d);
#if RESIDUAL
      STORE_SOME(Y_HALF, normed + LOAD_SOME(X_HALF, r, out + d, D - d), y, out + d, D - d);
#else
      STORE_SOME(Y_HALF, normed, y, out + d, D - d);
#endif
    }
  }
}

__kernel SERIAL void NAMED(rmsnorm_cpu)(PARAMS) {
  JOIN(NAMED(rmsnorm_cpu), _body)(get_global_id(0), get_global_size(0), ARGS);
}
