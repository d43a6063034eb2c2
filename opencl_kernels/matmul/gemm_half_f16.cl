// y_MN = x_MK * W_NK^T for many rows: prefill                half arithmetic; weights and x in half
//
//   Arguments, BIAS, RESIDUAL, GLU, EPILOGUE: see matmul.clh; NORM is 0
// Each work-item makes a tile of 8 columns and MB rows in registers. Four neighbours hold a strip
// of 32 columns and read the same rows of x; the others read the same weights. Halves sum HELD
// products, then floats. Many a device makes every half below 2^-14 a zero, and products of usual
// weights with small x are smaller: so a half's weight is SCALED, a power of two that costs no bit,
// and its sums are less by as much once they are floats. Nothing bounds a weight as its bits bound
// a code: where a weight or a sum passes the largest half, which leaves an infinity or a NaN, the
// tile is made once more in floats, of weights as they are. Groups (strips, rows).
#ifndef WG // work-items: a multiple of 4, each four of them with MB rows
#define WG 64
#endif
#ifndef HELD // products that a half sums: a multiple of 8
#define HELD 16
#endif
#ifndef MB // rows of one work-item; no more than there are
#define MB 8
#endif
#ifndef X_IMAGE // 1: x is read as an image (x_image.clh)
#define X_IMAGE 0
#endif
#ifndef W_HALF
#define W_HALF 1
#endif
#ifndef X_HALF
#define X_HALF 1
#endif
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#include "matmul.clh"
#include "strips.clh"
#include "gemv_rows.clh"
#include "x_image.clh"
#include "tile_ends.clh"
#if X_IMAGE
#define HALVES_OF X_TEXEL
#else
#define HALVES_OF(r, k) vload8(0, rows + NTH(r, LDX) + (k))
#endif
#define SCALED 64 // keeps products from 2^-20 on; weights of 1,024 and sums of 1,024 go beyond

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemm_half_f16(PARAMS X_IMAGE_PARAM) {
  const int lane = get_local_id(0), eight = lane % 4 * 8;
  const int strip = GROUP_ID(0), m0 = ((int)get_group_id(1) * (WG / 4) + lane / 4) * MB;
  const int first_row = min(m0, M - 1), last = M - 1 - first_row; // what may be read
  const int block = min(strip * 2 + eight / 16, LAST_BLOCK);      // there may be no second one
  __global const half *rows = x + (size_t)first_row * LDX + X0;
  TEXELS_FROM(first_row)
  __global const half *column = w + (size_t)block * (K * 16) + eight % 16;
  float8 sum[MB];
  EACH_ROW(r) sum[r] = 0.0f;
  int k = m0 < M ? 0 : K; // a tile beyond all rows has nothing to sum
  for (; k + HELD <= K; k += HELD) {
    half8 held[MB];
    EACH_ROW(r) held[r] = (half)0;
    UNROLL for (int j = k; j < k + HELD; j += 8) {
      half8 xs[MB];
      EACH_ROW(r) xs[r] = HALVES_OF(r, j);
#define TAKE(i)                                                                               \
  {                                                                                           \
    const half8 weight = vload8(0, column + (j + i) * 16) * (half)SCALED;                     \
    EACH_ROW(r) held[r] = xs[r].s##i * weight + held[r];                                      \
  }
      TAKE(0) TAKE(1) TAKE(2) TAKE(3) TAKE(4) TAKE(5) TAKE(6) TAKE(7)
    }
    EACH_ROW(r) sum[r] = convert_float8(held[r]) * (1.0f / SCALED) + sum[r];
  }
  float8 nothing = 0.0f; // a NaN where a sum is no number, or infinite
  EACH_ROW(r) nothing = sum[r] * 0.0f + nothing;
  const float4 half_of_it = nothing.lo + nothing.hi;
  if (half_of_it.x + half_of_it.y + half_of_it.z + half_of_it.w != 0.0f) {
    EACH_ROW(r) sum[r] = 0.0f;
    k = 0;
  }
  for (; k < K; k++) { // what is left of K, or all of it
    const float8 weight = vload_half8(0, column + k * 16);
    EACH_ROW(r) sum[r] = X_AT(r, k) * weight + sum[r];
  }
#define SIDE 4
#define COLUMN eight
#include "gemm_half_ends.clh"
}
