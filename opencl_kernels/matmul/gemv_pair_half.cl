// Two products y_MN = x_MK * W_NK^T of few rows in one launch    half arithmetic; codes; x in half
//
//   Arguments and options: see pair.clh
// As gemv_pair, but products of x and codes are made and first summed in halves: strip_half.clh.
// Groups (STRIPS strips of the first, then of the second, MB rows).
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
#ifndef BITS
#define BITS 4
#endif
#ifndef X_HALF
#define X_HALF 1
#endif
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#include "pair_strips.clh"
#include "strip_half.clh"
#define LONGER (K_0 > K_1 ? K_0 : K_1)

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemv_pair_half(PAIR_PARAMS) {
  __local float part[MB][SLICES][32];
#if STAGED
  __local half staged[MB * CEIL_DIV(LONGER, RUN_WORDS * CODES) * RUN_WORDS * CODES];
#endif
#include "pair_begin.clh"
#if STAGED // beyond K zeros
#include "strip_half_staged.clh"
#endif
  for (int strip = strip0; strip < strip1; strip++) {
#include "strip_half_sums.clh"
    EACH_ROW(r) vstore4(sum[r], 0, &part[r][slice][four]);
#include "gemv_end.clh"
  }
}
