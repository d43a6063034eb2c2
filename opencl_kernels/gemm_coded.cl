// What a GEMM of class cpu does with codes: it decodes a slice for many rows, or as it goes for few.

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
