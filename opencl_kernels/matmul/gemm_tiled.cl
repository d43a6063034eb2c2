// y_MN = x_MK * W_NK^T for many rows: prefill                    class generic; float arithmetic
//
//   Arguments, BIAS, RESIDUAL, GLU, EPILOGUE: see matmul.clh; NORM is 0; w of any kind
// Slices of KT of x and W go through local memory as floats: a word of codes is decoded once for
// all rows of a work-group, which are 8 * MR, and two strips of 32 columns. Each of 64 work-items
// makes MR rows of 8 columns: four, and those 16 further, with GLU their ups. Groups (pairs of
// strips, rows).
#ifndef MR // rows of one work-item: 4 or 8
#define MR 8
#endif
#ifndef KT // of K, what local memory holds: a multiple of 8
#define KT 32
#endif
#include "matmul.clh"
#include "groups.clh"
#include "tile_ends.clh"
#define WG 64
#define TM (8 * MR) // rows of a work-group
#define EACH_ROW(r) UNROLL for (int r = 0; r < MR; r++)

__kernel __attribute__((reqd_work_group_size(8, 8, 1))) void gemm_tiled(PARAMS) {
  __local float xs[KT][TM], ws[KT][64];
  const int lane = get_local_id(1) * 8 + get_local_id(0);
  const int first_strip = GROUP_ID(0) * 2, last_strip = CEIL_DIV(N, 32) - 1;
  const int first_row = get_group_id(1) * TM, rows = M, own_rows = get_local_id(1) * MR;
  const int four = get_local_id(0) % 4 * 4, own = get_local_id(0) / 4 * 32 + four;
  float4 low[MR], high[MR]; // of four columns, and of those 16 further
  EACH_ROW(r) low[r] = high[r] = 0.0f;
  for (int k0 = 0; k0 < K; k0 += KT) {
    // All work-items bring a slice of x and W to local memory, zeros beyond K,
    for (int i = lane; i < TM * KT / 4; i += WG) {
      const int m = i / (KT / 4), k = i % (KT / 4) * 4;
      __global const STORAGE(X_HALF) *row =
          x + (size_t)min(first_row + m, rows - 1) * LDX + X0 + k0;
      const int left = K - k0 - k;
      float4 v = 0.0f;
      if (left >= 4) {
        v = LOAD4(X_HALF, row, k);
      } else {
        if (left > 0) v.x = LOAD(X_HALF, row, k);
        if (left > 1) v.y = LOAD(X_HALF, row, k + 1);
        if (left > 2) v.z = LOAD(X_HALF, row, k + 2);
      }
      xs[k][m] = v.x, xs[k + 1][m] = v.y, xs[k + 2][m] = v.z, xs[k + 3][m] = v.w;
    }
#if BITS
    for (int i = lane; i < KT / CODES * 16; i += WG) {
      const int j = i / 8 % 2 * 32 + i % 8 * 4, word = k0 / CODES + i / 16;
      const int strip = min(first_strip + j / 32, last_strip);
      if (word < GROUPS_K * WORDS) {
        const size_t of_strip = (size_t)strip * GROUPS_K * 32 + j % 32;
        const size_t group = of_strip + word / WORDS * 32;
        const uint4 codes =
            vload4(0, w + (size_t)strip * (GROUPS_K * WORDS * 32) + word * 32 + j % 32);
        const float4 s = LOAD4(SCALE_HALF, scale, group), a = s * UNIT;
        const float4 b = (-UNIT - ZERO4(group)) * s;
        UNROLL for (int c = 0; c < CODES; c++)
            vstore4(CODE4(codes, c) * a + b, 0, &ws[i / 16 * CODES + c][j]);
      } else {
        UNROLL for (int c = 0; c < CODES; c++)
            vstore4((float4)(0.0f), 0, &ws[i / 16 * CODES + c][j]);
      }
    }
#else
    for (int i = lane; i < KT * 16; i += WG) {
      const int block = first_strip * 2 + i / (KT * 4), k = i / 4 % KT, j = i % 4 * 4;
      const float4 v = block < BLOCKS && k0 + k < K
                           ? LOAD4(W_HALF, w, ((size_t)block * K + k0 + k) * 16 + j)
                           : (float4)(0.0f);
      vstore4(v, 0, &ws[k][i / (KT * 4) * 16 + j]);
    }
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
    // then each multiplies its rows by its columns.
#pragma unroll 2
    for (int k = 0; k < KT; k++) {
      const float4 left = vload4(0, &ws[k][own]), right = vload4(0, &ws[k][own + 16]);
#define TAKE(r, v) low[r] = v * left + low[r], high[r] = v * right + high[r];
#define TAKE4(r)                                                                              \
  {                                                                                           \
    const float4 v = vload4(0, &xs[k][own_rows + r]);                                         \
    TAKE(r, v.x) TAKE(r + 1, v.y) TAKE(r + 2, v.z) TAKE(r + 3, v.w)                           \
  }
      TAKE4(0)
#if MR == 8
      TAKE4(4)
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  const int strip = first_strip + own / 32;
  EACH_ROW(i) {
    const int m = first_row + own_rows + i;
    if (m < rows) {
#if GLU
#define END(j) STORE_GATED(m, four + j, low[i].s##j, high[i].s##j)
#else
#define END(j) STORE_SUM(m, four + j, low[i].s##j) STORE_SUM(m, four + 16 + j, high[i].s##j)
#endif
      END(0) END(1) END(2) END(3)
    }
  }
}
