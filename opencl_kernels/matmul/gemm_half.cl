// y_MN = x_MK * W_NK^T for many rows: prefill             half arithmetic; codes; x in half
//
//   Arguments, BIAS, RESIDUAL, GLU, EPILOGUE: see matmul.clh; NORM is 0
// Each work-item makes a tile of 4 columns and MB rows in registers, straight from words and
// halves: a word is decoded once for MB rows, and products are made and first summed in halves
// (strip_half.clh). Eight neighbours hold a strip of 32 columns and read the same rows of x; the
// others read the same words. Local memory is only where gates meet their ups. Groups (strips,
// rows).
#ifndef WG // work-items: a multiple of 8, each eight of them with MB rows
#define WG 64
#endif
#ifndef HELD // codes whose products halves sum: a power of two, at most those of a group
#define HELD 32
#endif
#ifndef MB // rows of one work-item; no more than there are
#define MB 8
#endif
#ifndef BITS
#define BITS 4
#endif
#ifndef X_HALF
#define X_HALF 1
#endif
#define RUN 0 // whole groups
#define SLICES 1 // a work-item goes over all of K
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#include "matmul.clh"
#include "strips.clh"
#include "gemv_rows.clh"
#include "strip_half.clh"

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemm_half(PARAMS) {
  const int lane = get_local_id(0), four = lane % 8 * 4, slice = 0;
  const int strip = GROUP_ID(0), m0 = ((int)get_group_id(1) * (WG / 8) + lane / 8) * MB;
  const int first_row = min(m0, M - 1), last = M - 1 - first_row; // what may be read
  __global const half *rows = x + (size_t)first_row * LDX + X0;
#include "strip_half_sums.clh"
#if GLU
  __local float ups[WG / 8][16];
  UNROLL for (int i = 0; i < MB; i++) {
    if (four >= 16) vstore4(sum[i], 0, &ups[lane / 8][four - 16]);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (four < 16 && m0 + i < M) {
      const float4 up = vload4(0, &ups[lane / 8][four]);
#define STORE_COLUMN(j)                                                                       \
  if (strip * 16 + four + j < F) {                                                            \
    const int from = strip * 32 + four + j, out = strip * 16 + four + j;                      \
    const float gate = sum[i].s##j + BIAS_OF(from), other = up.s##j + BIAS_OF(from + 16);     \
    STORE(Y_HALF, ENDED(gate, other, m0 + i, Y0 + out), y, (size_t)(m0 + i) * LDY + Y0 + out); \
  }
      STORE_COLUMN(0) STORE_COLUMN(1) STORE_COLUMN(2) STORE_COLUMN(3)
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
#else
  UNROLL for (int i = 0; i < MB; i++) {
    if (m0 + i < M) {
#define STORE_COLUMN(j)                                                                       \
  if (strip * 32 + four + j < N) {                                                            \
    const int out = strip * 32 + four + j;                                                    \
    const size_t at = (size_t)(m0 + i) * LDY + Y0 + out;                                      \
    const float whole = sum[i].s##j + REST_OF(out, at);                                       \
    STORE(Y_HALF, ENDED(whole, 0.0f, m0 + i, Y0 + out), y, at);                               \
  }
      STORE_COLUMN(0) STORE_COLUMN(1) STORE_COLUMN(2) STORE_COLUMN(3)
    }
  }
#endif
}
