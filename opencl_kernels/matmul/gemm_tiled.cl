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
#define MB MR
#define WG 64
#define TM (8 * MR) // rows of a work-group
#include "matmul.clh"
#include "strips.clh"
#include "tile_ends.clh"

__kernel __attribute__((reqd_work_group_size(8, 8, 1))) void gemm_tiled(PARAMS) {
  __local float slices[KT][TM + 64]; // of x, and of W behind it
  const int lane = get_local_id(1) * 8 + get_local_id(0);
  const int pair = GROUP_ID(0) * 2, second = pair * 32 + 32 < N; // there may be no second strip
  const int m0 = get_group_id(1) * TM, last = M - 1 - m0, own_rows = get_local_id(1) * MR;
  const int own_four = get_local_id(0) % 4 * 4, own = get_local_id(0) / 4 * 32 + own_four;
  __global const STORAGE(X_HALF) *rows = x + (size_t)m0 * LDX + X0;
#if BITS
  const int strip = pair, four = 0;
  STRIP_OF_CODES
#else
  __global const STORAGE(W_HALF) *blocks = w + (size_t)pair * (2 * K * 16);
  const int most = BLOCKS - pair * 2; // that there are
#endif
  float4 low[MR], high[MR]; // of four columns, and of those 16 further
  EACH_ROW(r) low[r] = high[r] = 0.0f;
  for (int k0 = 0; k0 < K; k0 += KT) {
    // All work-items bring a slice of x and W to local memory, zeros beyond K,
    for (int i = lane; i < TM * KT / 4; i += WG) {
      const int m = i / (KT / 4), k = i % (KT / 4) * 4, left = K - k0 - k;
      __global const STORAGE(X_HALF) *four_of_x = rows + (min(m, last) * LDX + k0 + k);
      float4 v = 0.0f;
      if (left >= 4) {
        v = LOAD4(X_HALF, four_of_x, 0);
      } else {
        if (left > 0) v.x = LOAD(X_HALF, four_of_x, 0);
        if (left > 1) v.y = LOAD(X_HALF, four_of_x, 1);
        if (left > 2) v.z = LOAD(X_HALF, four_of_x, 2);
      }
      slices[k][m] = v.x, slices[k + 1][m] = v.y, slices[k + 2][m] = v.z, slices[k + 3][m] = v.w;
    }
#if BITS
    for (int i = lane; i < KT / CODES * 16; i += WG) {
      const int j = i % 8 * 4, of_second = i / 8 % 2, next = of_second & second;
      const int word = k0 / CODES + i / 16, group = (next * GROUPS_K + word / WORDS) * 32 + j;
      uint4 codes = 0;
      float4 a = 0.0f, b = 0.0f;
      if (word < GROUPS_K * WORDS) {
        codes = vload4(0, words + (next * (GROUPS_K * WORDS) + word) * 32 + j);
        a = LOAD4(SCALE_HALF, scales, group);
        b = (-UNIT - ZEROS_AT(group)) * a;
      }
      const int at = TM + of_second * 32 + j;
      UNROLL for (int c = 0; c < CODES; c++)
          vstore4(CODE4(codes, c) * (a * UNIT) + b, 0, &slices[i / 16 * CODES + c][at]);
    }
#else
    for (int i = lane; i < KT * 16; i += WG) {
      const int block = i / (KT * 4), k = i / 4 % KT, j = i % 4 * 4;
      float4 v = 0.0f;
      if (block < most && k0 + k < K) v = LOAD4(W_HALF, blocks, (block * K + k0 + k) * 16 + j);
      vstore4(v, 0, &slices[k][TM + block * 16 + j]);
    }
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
    // then each multiplies its rows by its columns.
#pragma unroll 2
    for (int k = 0; k < KT; k++) {
      const float4 left = vload4(0, &slices[k][TM + own]);
      const float4 right = vload4(0, &slices[k][TM + own + 16]);
#define TAKE(r, v) low[r] = v * left + low[r], high[r] = v * right + high[r];
#define TAKE4(r)                                                                              \
  {                                                                                           \
    const float4 v = vload4(0, &slices[k][own_rows + r]);                                     \
    TAKE(r, v.x) TAKE(r + 1, v.y) TAKE(r + 2, v.z) TAKE(r + 3, v.w)                           \
  }
      TAKE4(0)
#if MR == 8
      TAKE4(4)
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  {
    const int strip = pair + own / 32;
    EACH_ROW(i) {
      const int m = m0 + own_rows + i;
      if (m < M) {
#if GLU
#define END(j) STORE_GATED(m, own_four + j, low[i].s##j, high[i].s##j)
#else
#define END(j)                                                                                \
  STORE_SUM(m, own_four + j, low[i].s##j) STORE_SUM(m, own_four + 16 + j, high[i].s##j)
#endif
        END(0) END(1) END(2) END(3)
      }
    }
  }
}
