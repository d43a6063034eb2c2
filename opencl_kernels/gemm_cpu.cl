// y_MN = x_MK * W_NK^T (+ bias_N) for many rows: prefill            class cpu; any M, N and K
//
//   x X[M, LDX], w W[ceil(N/16)][K][16] (n16), bias f32[N] where BIAS, y Y[M, LDY] from column Y0
//   GROUPS  work-items (grid only); each has a range of 32-column strips
//   MR      rows of the register tile: MR x 32 outputs, 2 * MR accumulators (default 12)
//   KC      slice of K: 32 columns of it (32 KB of float at 256, the default) stay in L1 while all
//           rows pass over them. Between slices the sums wait in y, so a half y has KC = K.
// Half weights are decoded once per slice into a private panel, then reused by every row.
#include "common.cl"
#define BLOCKS CEIL_DIV(N, 16)
#define STRIPS CEIL_DIV(BLOCKS, 2)
#define PANEL (W_HALF && KC < K)
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
#if PANEL
#define SLICE const float *
#define SLICE16(p, k) vload16(k, p)
#else
#define SLICE __global const STORAGE(W_HALF) *
#define SLICE16(p, k) LOAD16(W_HALF, p, (size_t)(k) * 16)
#endif

// T rows of y, c0 + c1 columns (16 each but at the right edge), from `depth` products of a slice.
// c0 > 0; where c1 <= 0 the second half is computed from w0 again and dropped.
#define TILE_FUNCTION(T)                                                                      \
  void JOIN(tile, T)(__global const STORAGE(X_HALF) *x, SLICE w0, SLICE w1,                   \
                     __global STORAGE(Y_HALF) *y, float16 start0, float16 start1,             \
                     int first, int depth, int c0, int c1) {                                  \
    float16 a[T], b[T];                                                                       \
    UNROLL for (int i = 0; i < T; i++) {                                                      \
      a[i] = first ? start0 : LOAD_SOME(Y_HALF, y, (size_t)i * LDY, c0);                      \
      b[i] = first ? start1 : LOAD_SOME(Y_HALF, y, (size_t)i * LDY + 16, c1);                 \
    }                                                                                         \
    for (int k = 0; k < depth; k++) {                                                         \
      const float16 u = SLICE16(w0, k), v = SLICE16(w1, k);                                   \
      UNROLL for (int i = 0; i < T; i++) {                                                    \
        const float s = LOAD(X_HALF, x, (size_t)i * LDX + k);                                 \
        a[i] = s * u + a[i];                                                                  \
        b[i] = s * v + b[i];                                                                  \
      }                                                                                       \
    }                                                                                         \
    UNROLL for (int i = 0; i < T; i++) {                                                      \
      STORE_SOME(Y_HALF, a[i], y, (size_t)i * LDY, c0);                                       \
      STORE_SOME(Y_HALF, b[i], y, (size_t)i * LDY + 16, c1);                                  \
    }                                                                                         \
  }
#define TILE_ROWS(T)                                                                          \
  for (; m + T <= rows; m += T)                                                               \
    JOIN(tile, T)(x + (size_t)m * LDX + k0, w0, w1, y + (size_t)m * LDY + Y0 + n0, start0,    \
                  start1, k0 == 0, depth, N - n0, N - n1);
TILE_FUNCTION(MR)
TILE_FUNCTION(4)
TILE_FUNCTION(1)

void gemm_cpu_body(int id, int n, PARAMS) {
  const int rows = M;
#if PANEL
  float panel[2][KC * 16];
#endif
  for (int k0 = 0; k0 < K; k0 += KC)
    for (int strip = SPLIT(id, n, STRIPS); strip < SPLIT(id + 1, n, STRIPS); strip++) {
      const int n0 = strip * 32, n1 = n0 + 16, depth = min(KC, K - k0);
      const float16 start0 = START_AT(n0), start1 = START_AT(n1);
      const size_t from0 = ((size_t)n0 * K) + (size_t)k0 * 16;
      const size_t from1 = n1 < N ? from0 + (size_t)K * 16 : from0;          // a lone last block
#if PANEL
      for (int k = 0; k < depth; k++) {
        vstore16(LOAD16(W_HALF, w, from0 + (size_t)k * 16), k, panel[0]);
        vstore16(LOAD16(W_HALF, w, from1 + (size_t)k * 16), k, panel[1]);
      }
      const float *w0 = panel[0], *w1 = panel[1];
#else
      SLICE w0 = w + from0, *w1 = w + from1;
#endif
      int m = 0;
      TILE_ROWS(MR)
      TILE_ROWS(4)
      TILE_ROWS(1)
    }
}

__kernel SERIAL void gemm_cpu(PARAMS) {
  gemm_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
