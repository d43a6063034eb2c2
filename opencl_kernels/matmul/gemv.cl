// y_MN = x_MK * W_NK^T for few rows: M = 1 in decode                   class generic; any N and K
//
//   Arguments, NORM, BIAS, RESIDUAL, GLU, EPILOGUE: see matmul.clh; w of any kind
// A work-group makes STRIPS strips of 32 outputs (gates and ups at once) of MB rows, in float.
// Groups (STRIPS strips, MB rows).
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
#include "matmul.clh"
#include "strips.clh"
#include "gemv_rows.clh"
#include "strip_floats.clh"

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemv(PARAMS) {
  __local float part[MB][SLICES][32];
#if STAGED
  __local float staged[STAGED];
#endif
#include "gemv_begin.clh"
#if STAGED
#include "strip_floats_staged.clh"
#endif
  for (int strip = strip0; strip < strip1; strip++) {
#include "strip_sums.clh"
#include "gemv_end.clh"
  }
}
