// y_MN = x_MK * W_NK^T for many rows: prefill                              class cpu; any M, N and K
//
//   Arguments, BIAS, RESIDUAL, GLU: see matmul.cl
//   GROUPS  work-items (grid only); each has a range of 32-column strips
//   MR      rows of the register tile: MR x 32 outputs, 2 * MR accumulators (default 12)
//   KC      slice of K over which all rows pass before the next one; between slices the sums wait in
//           y, so a half y and GLU have KC = K. The default, 2048, is all of K in most models: the
//           strip then comes from L2 again and again, which costs less than the sums' way to y.
//   FEW     up to so many rows, codes are decoded inside the register tile (default 16)
// Half weights and codes are decoded once per slice into a private panel that every row reuses.
#include "matmul.cl"
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
// to[0 .. depth) of a block of 16 outputs from k0 on, decoded
void fill(CODED_PARAM int n0, int k0, int depth, float16 *to) {
  for (int g = 0; g < CEIL_DIV(depth, GROUP); g++) {
    const size_t at = GROUP_AT(n0, k0 + g * GROUP);
    const float16 a = LOAD16(SCALE_HALF, scale, at) * UNIT;
    const float16 b = (-UNIT - ZERO16(at)) * LOAD16(SCALE_HALF, scale, at);
    __global const uint *p = w + WORD_AT(n0, k0 + g * GROUP);
    for (int i = 0; i < WORDS; i++, p += 32) {
      const uint16 word = vload16(0, p);
      UNROLL for (int j = 0; j < CODES; j++) *to++ = CODE16(word, j) * a + b;
    }
  }
}

// The same tile, decoding as it goes: for so few rows that a panel would cost more than it saves.
#define FEW_FUNCTION(T)                                                                       \
  void JOIN(few, T)(__global const STORAGE(X_HALF) *x, CODED_PARAM REST_PARAM                 \
                    __global STORAGE(Y_HALF) *y, float16 start0, float16 start1, int n0,      \
                    int c0, int c1) {                                                         \
    const int first = 1;                                                                      \
    BEGIN_TILE(T)                                                                             \
    for (int g = 0; g < GROUPS_K; g++) {                                                      \
      const size_t at = GROUP_AT(n0, g * GROUP), to = at + 16;                                \
      const float16 a0 = LOAD16(SCALE_HALF, scale, at), b0 = (-UNIT - ZERO16(at)) * a0;       \
      const float16 a1 = LOAD16(SCALE_HALF, scale, to), b1 = (-UNIT - ZERO16(to)) * a1;       \
      const float16 s0 = a0 * UNIT, s1 = a1 * UNIT;                                           \
      __global const uint *p = w + WORD_AT(n0, g * GROUP);                                    \
      for (int i = 0; i < WORDS; i++, p += 32) {                                              \
        const uint16 here = vload16(0, p), there = vload16(1, p);                             \
        const int k = g * GROUP + i * CODES;                                                  \
        UNROLL for (int j = 0; j < CODES; j++) if (k + j < K) {                               \
          ADD_ROWS(T, k + j, CODE16(here, j) * s0 + b0, CODE16(there, j) * s1 + b1)           \
        }                                                                                     \
      }                                                                                       \
    }                                                                                         \
    END_TILE(T)                                                                               \
  }
#define FEW_ROWS(T)                                                                           \
  for (; m + T <= rows; m += T)                                                               \
    JOIN(few, T)(x + (size_t)m * LDX, CODED_ARG REST(OUT(strip))                              \
                 y + (size_t)m * LDY + Y0 + OUT(strip), BIAS16(strip * 32),                   \
                 BIAS16(strip * 32 + 16), strip * 32, COLUMNS - OUT(strip),                   \
                 N - strip * 32 - 16);
FEW_FUNCTION(8)
FEW_FUNCTION(4)
FEW_FUNCTION(2)
FEW_FUNCTION(1)
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
      fill(CODED_ARG n0, k0, depth, w0);
      fill(CODED_ARG n1, k0, depth, w1);
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
