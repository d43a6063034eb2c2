// y_MN = x_MK * W_NK^T for many rows: prefill                              class cpu; any M, N and K
//
//   Arguments, BIAS, RESIDUAL, GLU: see matmul.clh
//   WORKERS  work-items (grid only); each has a range of 32-column strips
//   MR      rows of the register tile: MR x 32 outputs, 2 * MR accumulators (default 12)
//   KC      slice of K over which all rows pass before the next one; between slices the sums wait in
//           y, so a half y and GLU have KC = K. The default, 2048, is all of K in most models: the
//           strip then comes from L2 again and again, which costs less than the sums' way to y.
//   FEW     up to so many rows, codes are decoded inside the register tile (default 16)
// Half weights and codes are decoded once per slice into a private panel that every row reuses.
#include "matmul.clh"
#define STRIPS PAIRS
#define PANEL (BITS || (W_HALF && KC < K))
#if PANEL
#define SLICE const float16 *
#define SLICE16(p, k) (p)[k]
#else
#define SLICE __global const STORAGE(W_HALF) *
#define SLICE16(p, k) LOAD16(W_HALF, p, (size_t)(k) * 16)
#endif
#if RESIDUAL
#define REST_PARAM __global const STORAGE(X_HALF) *r,
#define REST(n0) r + (size_t)m * LDY + Y0 + (n0),
#define FIRST16(i, n0, start, count) start + LOAD_SOME(X_HALF, r, (size_t)(i) * LDY + n0, count)
#else
#define REST_PARAM
#define REST(n0)
#define FIRST16(i, n0, start, count) start
#endif

// T rows of y, c0 + c1 columns (16 each but at the right edge), from `depth` products of a slice.
// c0 > 0; where c1 <= 0 the second half is computed from w0 again and dropped.
#define BEGIN_TILE(T)                                                                         \
  float16 a[T], b[T];                                                                         \
  UNROLL for (int i = 0; i < T; i++) {                                                        \
    a[i] = first ? FIRST16(i, 0, start0, c0) : LOAD_SOME(Y_HALF, y, (size_t)i * LDY, c0);     \
    b[i] = first ? FIRST16(i, 16, start1, c1) : LOAD_SOME(Y_HALF, y, (size_t)i * LDY + 16, c1); \
  }
#define ADD_ROWS(T, k, u, v)                                                                  \
  UNROLL for (int i = 0; i < T; i++) {                                                        \
    const float s = LOAD(X_HALF, x, (size_t)i * LDX + (k));                                   \
    a[i] = s * (u) + a[i];                                                                    \
    b[i] = s * (v) + b[i];                                                                    \
  }
#if GLU // the halves are gate and up of 16 outputs
#define END_TILE(T)                                                                           \
  UNROLL for (int i = 0; i < T; i++)                                                          \
      STORE_SOME(Y_HALF, ACTIVATE(a[i]) * b[i], y, (size_t)i * LDY, c0);
#define OUT(strip) ((strip) * 16)
#define COLUMNS F
#else
#define END_TILE(T)                                                                           \
  UNROLL for (int i = 0; i < T; i++) {                                                        \
    STORE_SOME(Y_HALF, a[i], y, (size_t)i * LDY, c0);                                         \
    STORE_SOME(Y_HALF, b[i], y, (size_t)i * LDY + 16, c1);                                    \
  }
#define OUT(strip) ((strip) * 32)
#define COLUMNS N
#endif
#define TILE_FUNCTION(T)                                                                      \
  void JOIN(tile, T)(__global const STORAGE(X_HALF) *x, SLICE w0, SLICE w1, REST_PARAM        \
                     __global STORAGE(Y_HALF) *y, float16 start0, float16 start1,             \
                     int first, int depth, int c0, int c1) {                                  \
    BEGIN_TILE(T)                                                                             \
    for (int k = 0; k < depth; k++) {                                                         \
      const float16 u = SLICE16(w0, k), v = SLICE16(w1, k);                                   \
      ADD_ROWS(T, k, u, v)                                                                    \
    }                                                                                         \
    END_TILE(T)                                                                               \
  }
#define TILE_ROWS(T)                                                                          \
  for (; m + T <= rows; m += T)                                                               \
    JOIN(tile, T)(x + (size_t)m * LDX + k0, w0, w1, REST(OUT(strip))                          \
                  y + (size_t)m * LDY + Y0 + OUT(strip), start0, start1, k0 == 0, depth,      \
                  COLUMNS - OUT(strip), N - n1);
TILE_FUNCTION(MR)
TILE_FUNCTION(4)
TILE_FUNCTION(1)

#if BITS
#include "gemm_quantized_cpu.clh"
#endif

void gemm_cpu_body(int id, int n, PARAMS) {
  const int rows = M;
#if BITS
  if (rows <= FEW) {
    for (int strip = SPLIT(id, n, STRIPS); strip < SPLIT(id + 1, n, STRIPS); strip++) {
      int m = 0;
      FEW_ROWS(8)
      FEW_ROWS(4)
      FEW_ROWS(2)
      FEW_ROWS(1)
    }
    return;
  }
#endif
#if PANEL
  float16 w0[PANEL_ROWS], w1[PANEL_ROWS];
#endif
  for (int k0 = 0; k0 < K; k0 += KC)
    for (int strip = SPLIT(id, n, STRIPS); strip < SPLIT(id + 1, n, STRIPS); strip++) {
      const int n0 = strip * 32, n1 = n0 + 16, depth = min(KC, K - k0);
      const float16 start0 = BIAS16(n0), start1 = BIAS16(n1);
#if BITS
      fill(QUANTIZED_ARG n0, k0, depth, w0);
      fill(QUANTIZED_ARG n1, k0, depth, w1);
#else
      const size_t from0 = ((size_t)n0 * K) + (size_t)k0 * 16;
      const size_t from1 = n1 < N ? from0 + (size_t)K * 16 : from0;          // a lone last block
#if PANEL
      for (int k = 0; k < depth; k++) {
        w0[k] = LOAD16(W_HALF, w, from0 + (size_t)k * 16);
        w1[k] = LOAD16(W_HALF, w, from1 + (size_t)k * 16);
      }
#else
      SLICE w0 = w + from0, *w1 = w + from1;
#endif
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
