// y_MN = x_MK * W_NK^T for many rows: prefill                       class generic; any M, N and K
//
//   Arguments, BIAS, RESIDUAL, GLU: see matmul.clh; w of any kind
//   MR  rows of one work-item (default 4); it has 4 columns of each, with GLU 2 gates and their ups
// A work-group of 8 x 8 makes 8*MR rows and 32 columns; slices of KT = 16 of x and W go through
// local memory. Groups (columns, rows).
#include "matmul.clh"
#define KT 16
#define TM (8 * MR)                   // rows of a work-group
#if GLU
#define AT(block, k, i) ws[block][k][column * 2 + i]
#define PART4(k) (float4)(AT(0, k, 0), AT(0, k, 1), AT(1, k, 0), AT(1, k, 1))
#else
#define PART4(k) vload4(0, &ws[column / 4][k][column % 4 * 4])
#endif
#if BITS
float weight(QUANTIZED_PARAM int n, int k) {
  const uint word = w[WORD_AT(n, k)];
  const size_t at = GROUP_AT(n, k);
  const float s = LOAD(SCALE_HALF, scale, at);
  return CODE(word, k % CODES) * (s * UNIT) + (-UNIT - ZERO1(at)) * s;
}
#define WEIGHT(block, k, lane) weight(QUANTIZED_ARG (block) * 16 + (lane), k)
#else
#define WEIGHT(block, k, lane) LOAD(W_HALF, w, ((size_t)(block) * K + (k)) * 16 + lane)
#endif

__kernel __attribute__((reqd_work_group_size(8, 8, 1))) void gemm(PARAMS) {
  __local float xs[TM][KT], ws[2][KT][16];
  const int column = get_local_id(0), row = get_local_id(1), lane = row * 8 + column;
  const int strip = get_group_id(0), m0 = get_group_id(1) * TM, rows = M;
  float4 sum[MR];
  for (int i = 0; i < MR; i++) sum[i] = 0.0f;
  for (int k0 = 0; k0 < K; k0 += KT) {
    for (int i = lane; i < TM * KT; i += 64) {
      const int m = m0 + i / KT, k = k0 + i % KT;
      xs[i / KT][i % KT] = m < rows && k < K ? LOAD(X_HALF, x, (size_t)m * LDX + k) : 0.0f;
    }
    for (int i = lane; i < 2 * KT * 16; i += 64) {
      const int block = strip * 2 + i / (KT * 16), k = i / 16 % KT;
      ws[i / (KT * 16)][k][i % 16] =
          block < BLOCKS && k0 + k < K ? WEIGHT(block, k0 + k, i % 16) : 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = 0; k < KT; k++) {
      const float4 v = PART4(k);
      for (int i = 0; i < MR; i++) sum[i] = xs[row * MR + i][k] * v + sum[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  for (int i = 0; i < MR; i++) {
    const int m = m0 + row * MR + i;
    float part[4];
    vstore4(sum[i], 0, part);
#if GLU
    for (int j = 0; j < 2; j++) {
      const int from = strip * 32 + column * 2 + j, out = strip * 16 + column * 2 + j;
      if (m >= rows || out >= F) continue;
      const float gate = part[j] + BIAS_OF(from), up = part[j + 2] + BIAS_OF(from + 16);
      STORE(Y_HALF, ACTIVATE(gate) * up, y, (size_t)m * LDY + Y0 + out);
    }
#else
    for (int j = 0; j < 4; j++) {
      const int out = strip * 32 + column * 4 + j;
      const size_t at = (size_t)m * LDY + Y0 + out;
      if (m < rows && out < N) STORE(Y_HALF, part[j] + REST_OF(out, at), y, at);
    }
#endif
  }
}
