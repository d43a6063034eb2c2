// y_MN = x_MK * W_NK^T (+ bias_N) for few rows: M = 1 in decode        class generic; any N and K
// GLU: y_MF = act(gate_MF) * up_MF of that product, whose W is gate and up interleaved by 16;
//   ACT 0 silu, 1 relu
//
//   x X[M, LDX], w W[ceil(N/16)][K][16] (n16), bias f32[N] where BIAS, y Y[M, LDY] from column Y0
//   WG  work-items per block of 16 outputs: a power of two, at least 16 (default 64)
// Four neighbours hold one k (float4 of outputs each), so that a work-group reads W in one piece;
// the WG/4 partial sums of each output meet in local memory. Groups (block, row).
#include "common.cl"
#define SLICES (WG / 4)
#define STREAMS (GLU ? 2 : 1)      // blocks of W per work-group
#if BIAS
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x,                                 \
      __global const STORAGE(W_HALF) *w, __global const float *bias, __global STORAGE(Y_HALF) *y
#define BIAS_OF(n) ((n) < N ? bias[n] : 0.0f)
#else
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x,                                 \
      __global const STORAGE(W_HALF) *w, __global STORAGE(Y_HALF) *y
#define BIAS_OF(n) 0.0f
#endif

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemv(PARAMS) {
  __local float part[STREAMS][SLICES][16];
  const int lane = get_local_id(0), slice = lane / 4, four = lane % 4 * 4;
  const int block = get_group_id(0), m = get_group_id(1);
  for (int s = 0; s < STREAMS; s++) {
    const size_t from = (size_t)(block * STREAMS + s) * K * 16 + four;
    float4 sum = 0.0f;
    for (int k = slice; k < K; k += SLICES)
      sum = LOAD(X_HALF, x, (size_t)m * LDX + k) * LOAD4(W_HALF, w, from + (size_t)k * 16) + sum;
    vstore4(sum, 0, &part[s][slice][four]);
  }
  for (int width = SLICES / 2; width > 0; width /= 2) {                     // tree sum
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int s = 0; s < STREAMS && slice < width; s++)
      vstore4(vload4(0, &part[s][slice][four]) + vload4(0, &part[s][slice + width][four]), 0,
              &part[s][slice][four]);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const int out = block * 16 + lane;
#if GLU
  if (lane < 16 && out < F) {
    const float gate = part[0][0][lane] + BIAS_OF(block * 32 + lane);
    const float up = part[STREAMS - 1][0][lane] + BIAS_OF(block * 32 + 16 + lane);
    STORE(Y_HALF, ACTIVATE(gate) * up, y, (size_t)m * LDY + Y0 + out);
  }
#else
  if (lane < 16 && out < N)
    STORE(Y_HALF, part[0][0][lane] + BIAS_OF(out), y, (size_t)m * LDY + Y0 + out);
#endif
}
