// y_MN = x_MK * W_NK^T (+ bias_N) for many rows: prefill            class generic; any M, N and K
//
//   x X[M, LDX], w W[ceil(N/16)][K][16] (n16), bias f32[N] where BIAS, y Y[M, LDY] from column Y0
//   MR  rows of one work-item (default 4); it has 4 columns of each
// A work-group of 8 x 8 makes 8*MR rows and 32 columns; slices of KT = 16 of x and W go through
// local memory. Groups (columns, rows).
#include "common.cl"
#define KT 16
#define TM (8 * MR)                   // rows of a work-group
#if BIAS
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x,                                 \
      __global const STORAGE(W_HALF) *w, __global const float *bias, __global STORAGE(Y_HALF) *y
#define BIAS_OF(n) bias[n]
#else
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *x,                                 \
      __global const STORAGE(W_HALF) *w, __global STORAGE(Y_HALF) *y
#define BIAS_OF(n) 0.0f
#endif

__kernel __attribute__((reqd_work_group_size(8, 8, 1))) void gemm(PARAMS) {
  __local float xs[TM][KT], ws[2][KT][16];
  const int column = get_local_id(0), row = get_local_id(1), lane = row * 8 + column;
  const int n0 = get_group_id(0) * 32, m0 = get_group_id(1) * TM, rows = M;
  float4 sum[MR];
  for (int i = 0; i < MR; i++) sum[i] = 0.0f;
  for (int k0 = 0; k0 < K; k0 += KT) {
    for (int i = lane; i < TM * KT; i += 64) {
      const int m = m0 + i / KT, k = k0 + i % KT;
      xs[i / KT][i % KT] = m < rows && k < K ? LOAD(X_HALF, x, (size_t)m * LDX + k) : 0.0f;
    }
    for (int i = lane; i < 2 * KT * 16; i += 64) {
      const int block = i / (KT * 16), k = i / 16 % KT, start = n0 + block * 16;
      const size_t from = (size_t)start * K + (size_t)(k0 + k) * 16 + i % 16;
      ws[block][k][i % 16] = start < N && k0 + k < K ? LOAD(W_HALF, w, from) : 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = 0; k < KT; k++) {
      const float4 v = vload4(0, &ws[column / 4][k][column % 4 * 4]);
      for (int i = 0; i < MR; i++) sum[i] = xs[row * MR + i][k] * v + sum[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  for (int i = 0; i < MR; i++) {
    const int m = m0 + row * MR + i;
    float part[4];
    vstore4(sum[i], 0, part);
    for (int j = 0; j < 4; j++) {
      const int out = n0 + column * 4 + j;
      if (m < rows && out < N)
        STORE(Y_HALF, part[j] + BIAS_OF(out), y, (size_t)m * LDY + Y0 + out);
    }
  }
}
