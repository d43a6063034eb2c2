// Two products y_MN = x_MK * W_NK^T of few rows in one launch        class generic; any N and K
//
//   Arguments and options: see pair.clh; w of any kind
// As gemv: a work-group makes STRIPS strips of 32 outputs of MB rows of one of the products. Groups
// (STRIPS strips of the first, then of the second, MB rows).
#ifndef WG // work-items per strip: a power of two, at least 16
#define WG 128
#endif
#ifndef RUN // words of a group of codes that a slice takes in a row: a power of two; 0: all
#define RUN 0
#endif
#ifndef STRIPS // that a work-group does, one after the other
#define STRIPS 1
#endif
#ifndef MB // rows of x for which W is read once; no more than there are
#define MB 4
#endif
#ifndef STAGED // floats of local memory in which is kept what a norm makes of x
#define STAGED 0
#endif
#include "pair_strips.clh"
#include "strip_floats.clh"

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemv_pair(PAIR_PARAMS) {
  __local float part[MB][SLICES][32];
#if STAGED
  __local float staged[STAGED];
#endif
#include "pair_begin.clh"
#if STAGED
#include "strip_floats_staged.clh"
#endif
  for (int strip = strip0; strip < strip1; strip++) {
#include "strip_sums.clh"
#include "gemv_end.clh"
  }
}
