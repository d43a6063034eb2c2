// What the matrix products share: parameters, in this order, and how they see a weight.
//
//   x X[M, LDX], w, bias f32[N] where BIAS, y Y[M, LDY] from column Y0
//   NORM      x is normalised first: x * rsqrt(mean_K(x^2) + EPS) * gamma_K, gamma f32[K]
//   RESIDUAL  r X[M, LDY] from column Y0 is added at the end
//   GLU       y_MF = act(gate_MF) * up_MF, w being gate and up interleaved by 16; ACT 0 silu, 1 relu
//   BITS 0    w W[ceil(N/16)][K][16] (n16)
//   BITS > 0  coded: w u32[ceil(N/32)][GROUPS_K * WORDS][32], scale S[ceil(N/32)][GROUPS_K][32],
//             zero [ceil(N/32)][GROUPS_K][32] where ZERO: 1 u8, 2 half, 3 float (0: it is 2^(BITS-1))
#include "common.cl"
#if NORM
#define GAMMA_PARAM __global const float *gamma,
#define GAMMA_ARG gamma,
#else
#define GAMMA_PARAM
#define GAMMA_ARG
#endif
#if BIAS
#define BIAS_PARAM __global const float *bias,
#define BIAS_ARG bias,
#define BIAS16(n0) LOAD_SOME(0, bias, n0, N - (n0))
#define BIAS_OF(n) ((n) < N ? bias[n] : 0.0f)
#else
#define BIAS_PARAM
#define BIAS_ARG
#define BIAS16(n0) 0.0f
#define BIAS_OF(n) 0.0f
#endif
#if RESIDUAL
#define RESIDUAL_PARAM __global const STORAGE(X_HALF) *r,
#define RESIDUAL_ARG r,
#define REST_OF(n, at) (BIAS_OF(n) + LOAD(X_HALF, r, at))
#else
#define RESIDUAL_PARAM
#define RESIDUAL_ARG
#define REST_OF(n, at) BIAS_OF(n)
#endif
#if BITS
#include "coded.cl"
#define WEIGHT_PARAM CODED_PARAM
#define WEIGHT_ARG CODED_ARG
#else
#define WEIGHT_PARAM __global const STORAGE(W_HALF) *w,
#define WEIGHT_ARG w,
#endif
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x, GAMMA_PARAM WEIGHT_PARAM        \
      BIAS_PARAM RESIDUAL_PARAM __global STORAGE(Y_HALF) *y
#define ARGS sym, x, GAMMA_ARG WEIGHT_ARG BIAS_ARG RESIDUAL_ARG y
#define BLOCKS CEIL_DIV(N, 16)
#define PAIRS CEIL_DIV(BLOCKS, 2)
