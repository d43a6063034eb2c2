// y_MN = x_MK * W_NK^T for many rows: prefill          half arithmetic; codes of 8 bits; x in half
//
//   Arguments, BIAS, RESIDUAL, GLU, EPILOGUE: see matmul.clh; NORM is 0
// As gemm_half, but two words at once, so that a load of x brings as many as with codes of 4 bits.
#ifndef WG // work-items: a multiple of 8, each eight of them with MB rows
#define WG 64
#endif
#ifndef HELD // codes whose products halves sum: 8 or 16
#define HELD 16
#endif
#ifndef MB // rows of one work-item; no more than there are
#define MB 8
#endif
#ifndef X_IMAGE // 1: x is read as an image (x_image.clh)
#define X_IMAGE 0
#endif
#ifndef BITS
#define BITS 8
#endif
#ifndef X_HALF
#define X_HALF 1
#endif
#define RUN 0 // whole groups
#define SLICES 1 // a work-item goes over all of K
#define REMADE 1 // in floats, what passes halves
#define AT_ONCE 2
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#include "matmul.clh"
#include "strips.clh"
#include "gemv_rows.clh"
#include "x_image.clh"
#include "strip_half.clh"
#include "tile_ends.clh"

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemm_half_q8(PARAMS X_IMAGE_PARAM) {
#include "gemm_half_codes.clh"
}
