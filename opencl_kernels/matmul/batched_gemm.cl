// y[b, m, n] = sum over k of left[b, m, k] * right[b, k, n]                        class generic
//
//   Arguments, sizes, strides, EPILOGUE: see batched.clh
// A work-group of 8 x 8 makes 8*MR rows and 32 columns of a matrix; slices of KT = 16 of both sides
// go through local memory. Groups (columns, rows, matrices).
#ifndef MR // rows of one work-item; it has 4 columns of each
#define MR 4
#endif
#include "batched.clh"
#include "groups.clh"
#define KT 16
#define TM (8 * MR) // rows of a work-group

__kernel __attribute__((reqd_work_group_size(8, 8, 1))) void batched_gemm(OPERANDS) {
  __local float xs[TM][KT], ws[KT][32];
  const int column = get_local_id(0), row = get_local_id(1), lane = row * 8 + column;
  const int n0 = GROUP_ID(0) * 32, m0 = get_group_id(1) * TM, r = get_group_id(2);
  const int rows = M, columns = N, depth = K;
  COORDINATES
  LEFT_POINTER left = LEFT + (LEFT_FIRST);
  RIGHT_POINTER right = RIGHT + (RIGHT_FIRST);
  float4 sum[MR];
  UNROLL for (int i = 0; i < MR; i++) sum[i] = 0.0f;
  for (int k0 = 0; k0 < depth; k0 += KT) {
    // All work-items bring a slice of each side, zeros beyond the edges, in the order of memory;
    for (int i = lane; i < TM * KT; i += 64) {
      const int a = LEFT_ALONG ? i / KT : i % TM, b = LEFT_ALONG ? i % KT : i / TM;
      const int m = m0 + a, k = k0 + b;
      const size_t at = (size_t)m * (LEFT_M) + (size_t)k * (LEFT_K);
      xs[a][b] = m < rows && k < depth ? LOAD(LEFT_HALF, left, at) : 0.0f;
    }
    for (int i = lane; i < KT * 32; i += 64) {
      const int a = RIGHT_ALONG ? i / 32 : i % KT, b = RIGHT_ALONG ? i % 32 : i / KT;
      const int k = k0 + a, n = n0 + b;
      const size_t at = (size_t)k * (RIGHT_K) + (size_t)n * (RIGHT_N);
      ws[a][b] = k < depth && n < columns ? LOAD(RIGHT_HALF, right, at) : 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    // then each multiplies its MR rows by its 4 columns.
    for (int k = 0; k < KT; k++) {
      const float4 v = vload4(column, &ws[k][0]);
      UNROLL for (int i = 0; i < MR; i++) sum[i] = xs[row * MR + i][k] * v + sum[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  UNROLL for (int i = 0; i < MR; i++) { // sums become outputs, but for those beyond the edges
    const int m = m0 + row * MR + i;
    const float part[4] = {sum[i].x, sum[i].y, sum[i].z, sum[i].w};
    UNROLL for (int j = 0; j < 4; j++) {
      const int n = n0 + column * 4 + j, of_all = r * rows + m;
      if (m >= rows || n >= columns) continue;
      STORE(Y_HALF, ENDED(part[j], 0.0f, of_all, n), y, (size_t)of_all * columns + n);
    }
  }
}
