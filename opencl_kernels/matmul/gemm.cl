// y_MN = x_MK * W_NK^T for many rows: prefill                       class generic; any M, N and K
//
//   Arguments, BIAS, RESIDUAL, GLU, EPILOGUE: see matmul.clh; NORM is 0; w of any kind
// A work-group of 8 x 8 makes 8*MR rows and 32 columns; slices of KT = 16 of x and W go through
// local memory. Groups (columns, rows).
#ifndef MR // rows of one work-item; it has 4 columns of each, with GLU 2 gates and their ups
#define MR 4
#endif
#include "matmul.clh"
#include "groups.clh"
#define KT 16
#define TM (8 * MR) // rows of a work-group
#if GLU // which of a slice's weights belong to a work-item
#define AT(block, k, i) ws[block][k][column * 2 + i]
#define PART4(k) (float4)(AT(0, k, 0), AT(0, k, 1), AT(1, k, 0), AT(1, k, 1))
#else
#define PART4(k) vload4(0, &ws[column / 4][k][column % 4 * 4])
#endif
#if BITS
#define WEIGHT(n, k) weight_at(QUANTIZED_ARG n, k)
#else
#define WEIGHT(n, k) LOAD(W_HALF, w, ((size_t)((n) / 16) * K + (k)) * 16 + (n) % 16)
#endif

__kernel __attribute__((reqd_work_group_size(8, 8, 1))) void gemm(PARAMS) {
  __local float xs[TM][KT], ws[2][KT][16];
  const int column = get_local_id(0), row = get_local_id(1), lane = row * 8 + column;
  const int strip = GROUP_ID(0), m0 = get_group_id(1) * TM, rows = M;
  float4 sum[MR];
  UNROLL for (int i = 0; i < MR; i++) sum[i] = 0.0f;
  for (int k0 = 0; k0 < K; k0 += KT) {
    // All work-items bring a slice of x and W to local memory, zeros beyond the edges;
    for (int i = lane; i < TM * KT; i += 64) {
      const int m = m0 + i / KT, k = k0 + i % KT;
      xs[i / KT][i % KT] = m < rows && k < K ? LOAD(X_HALF, x, (size_t)m * LDX + X0 + k) : 0.0f;
    }
    for (int i = lane; i < 2 * KT * 16; i += 64) {
      const int block = strip * 2 + i / (KT * 16), k = i / 16 % KT;
      ws[i / (KT * 16)][k][i % 16] =
          block < BLOCKS && k0 + k < K ? WEIGHT(block * 16 + i % 16, k0 + k) : 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    // then each multiplies its MR rows by its 4 columns.
    for (int k = 0; k < KT; k++) {
      const float4 v = PART4(k);
      UNROLL for (int i = 0; i < MR; i++) sum[i] = xs[row * MR + i][k] * v + sum[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  UNROLL for (int i = 0; i < MR; i++) { // sums become outputs, but for those beyond the edges
    const int m = m0 + row * MR + i;
    const float part[4] = {sum[i].x, sum[i].y, sum[i].z, sum[i].w};
#if GLU
    UNROLL for (int j = 0; j < 2; j++) {
      const int from = strip * 32 + column * 2 + j, out = strip * 16 + column * 2 + j;
      if (m >= rows || out >= F) continue;
      const float gate = part[j] + BIAS_OF(from), up = part[j + 2] + BIAS_OF(from + 16);
      STORE(Y_HALF, ENDED(gate, up, m, Y0 + out), y, (size_t)m * LDY + Y0 + out);
    }
#else
    UNROLL for (int j = 0; j < 4; j++) {
      const int out = strip * 32 + column * 4 + j;
      const size_t at = (size_t)m * LDY + Y0 + out;
      if (m >= rows || out >= N) continue;
      const float sum = part[j] + REST_OF(out, at);
      STORE(Y_HALF, ENDED(sum, 0.0f, m, Y0 + out), y, at);
    }
#endif
  }
}
