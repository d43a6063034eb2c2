// How a GEMV of class cpu begins and ends: its row as floats, and what becomes of two sums.
#define VECTORS CEIL_DIV(K, 16)

// row[VECTORS] = row m of x, normalised where NORM; zero beyond K
#define PREPARE(row)                                                                          \
  for (int i = 0; i < VECTORS; i++)                                                           \
    row[i] = LOAD_SOME(X_HALF, x, (size_t)m * LDX + i * 16, K - i * 16);                      \
  NORMALISE(row)
#if NORM
#define NORMALISE(row)                                                                        \
  float16 squares = 0.0f;                                                                     \
  for (int i = 0; i < VECTORS; i++) squares = row[i] * row[i] + squares;                      \
  const float shrink = rsqrt(sum16(squares) / K + EPS);                                       \
  for (int i = 0; i < VECTORS; i++)                                                           \
    row[i] *= shrink * LOAD_SOME(0, gamma, i * 16, K - i * 16);
#else
#define NORMALISE(row)
#endif

#if RESIDUAL
#define REST16(n0) (LOAD_SOME(X_HALF, r, (size_t)m * LDY + Y0 + (n0), N - (n0)) + BIAS16(n0))
#else
#define REST16(n0) BIAS16(n0)
#endif
#if GLU // the pair is gate and up of 16 outputs
#define FINISH(a, b)                                                                          \
  const float16 gate = (a) + BIAS16(pair * 32), up = (b) + BIAS16(pair * 32 + 16);            \
  STORE_SOME(Y_HALF, ACTIVATE(gate) * up, y, (size_t)m * LDY + Y0 + pair * 16, F - pair * 16);
#else
#define FINISH(a, b)                                                                          \
  const int n0 = pair * 32, n1 = n0 + 16;                                                     \
  STORE_SOME(Y_HALF, (a) + REST16(n0), y, (size_t)m * LDY + Y0 + n0, N - n0);                 \
  if (n1 < N) STORE_SOME(Y_HALF, (b) + REST16(n1), y, (size_t)m * LDY + Y0 + n1, N - n1);
#endif
