// y_MN = x_MK * W_NK^T for few rows: M = 1 in decode      half arithmetic; codes; x in half
//
//   Arguments, NORM, BIAS, RESIDUAL, GLU, EPILOGUE: see matmul.clh
// As gemv, but products of x and codes are made and first summed in halves: strip_half.clh. Groups
// (STRIPS strips, MB rows).
#ifndef WG // work-items per strip: a power of two, at least 16
#define WG 64
#endif
#ifndef RUN // words of a group of codes that a slice takes in a row: a power of two; 0: all
#define RUN 0
#endif
#ifndef HELD // codes whose products halves sum: a power of two, at most those of a run
#define HELD 8
#endif
#ifndef STRIPS // that a work-group does, one after the other
#define STRIPS 1
#endif
#ifndef MB // rows of x for which W is read once; no more than there are
#define MB 4
#endif
#ifndef X_IMAGE // 1: x is read as an image (x_image.clh)
#define X_IMAGE 0
#endif
#ifndef BITS
#define BITS 4
#endif
#ifndef X_HALF
#define X_HALF 1
#endif
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#include "matmul.clh"
#include "strips.clh"
#include "gemv_rows.clh"
#include "x_image.clh"
#include "strip_half.clh"

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemv_half(PARAMS X_IMAGE_PARAM) {
  __local float part[MB][SLICES][32];
#include "gemv_begin.clh"
  TEXELS_FROM(m0)
#if STAGED
  __local half staged[MB * DEPTH]; // beyond K zeros
#include "strip_half_staged.clh"
#endif
  for (int strip = strip0; strip < strip1; strip++) {
#include "strip_half_sums.clh"
    EACH_ROW(r) vstore4(sum[r], 0, &part[r][slice][four]);
#include "gemv_end.clh"
  }
}
