// y_MN = x_MK * W_NK^T for many rows: prefill                          class cpu; any M, N and K
//
//   Arguments, BIAS, RESIDUAL, GLU, EPILOGUE: see matmul.clh; NORM is 0
// A work-item has a range of strips of 32 columns. Half weights and codes are decoded once per
// slice of K into a private panel that every row reuses.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#ifndef MR // rows of the register tile: MR x 32 outputs, 2 * MR accumulators
#define MR 12
#endif
// Slice of K over which all rows pass before the next one. Between slices the sums wait in y, so a
// half y and GLU have KC = K. The default is all of K in most models: the strip then comes from L2
// again and again, which costs less than the sums' way to y.
#ifndef KC
#define KC 2048
#endif
#ifndef FEW // up to so many rows, codes are decoded inside the register tile
#define FEW 16
#endif
#include "matmul.clh"
#include "epilogue_cpu.clh"
#ifndef PANEL_ROWS // KC, for codes rounded up to whole groups
#define PANEL_ROWS KC
#endif
#define STRIPS PAIRS
#include "panel_cpu.clh"
// What sums begin with: the bias, `start`, and the residual where there is one.
#if RESIDUAL
#define FIRST16(at, start, count) start + LOAD_SOME(X_HALF, r, at, count)
#else
#define FIRST16(at, start, count) start
#endif
// What a slice stores: after the last one, what becomes of the sums. No branch where that is they.
#if EPILOGUE
#define STORED16(v, i0, i1, last, count) (last ? ENDED16(v, 0.0f, i0, i1, count) : v)
#else
#define STORED16(v, i0, i1, last, count) v
#endif
// The first column of y that a strip makes, and the number of all.
#if GLU // a strip is gate and up of 16 outputs
#define OUT(strip) ((strip) * 16)
#define COLUMNS F
#else
#define OUT(strip) ((strip) * 32)
#define COLUMNS N
#endif
// Tiles of MR rows, and smaller ones for the rows that these leave; MR is none of the others.
#define T MR
#include "gemm_tile_cpu.clh"
#define T 8
#include "gemm_tile_cpu.clh"
#define T 4
#include "gemm_tile_cpu.clh"
#define T 2
#include "gemm_tile_cpu.clh"
#define T 1
#include "gemm_tile_cpu.clh"

void gemm_cpu_body(int id, int n, PARAMS) {
  const int rows = M, first = first_item(id, n, STRIPS), end = first_item(id + 1, n, STRIPS);
#if BITS
  if (rows <= FEW) { // a panel would not pay
    for (int strip = first; strip < end; strip++) {
      const float16 start0 = BIAS16(strip * 32), start1 = BIAS16(strip * 32 + 16);
      int m = few8(0, rows, x, WEIGHT_ARG OUTPUT_ARG, start0, start1, strip);
      m = few4(m, rows, x, WEIGHT_ARG OUTPUT_ARG, start0, start1, strip);
      m = few2(m, rows, x, WEIGHT_ARG OUTPUT_ARG, start0, start1, strip);
      few1(m, rows, x, WEIGHT_ARG OUTPUT_ARG, start0, start1, strip);
    }
    return;
  }
#endif
#if PANEL
  float16 w0[PANEL_ROWS], w1[PANEL_ROWS];
#endif
  for (int k0 = 0; k0 < K; k0 += KC) // a slice of K, for all strips and rows
    for (int strip = first; strip < end; strip++) {
      const int n0 = strip * 32, depth = min(KC, K - k0);
      const int n1 = n0 + 16 < N ? n0 + 16 : n0; // a lone last block
      const float16 start0 = BIAS16(n0), start1 = BIAS16(n0 + 16);
#if PANEL
      fill(WEIGHT_ARG n0, k0, depth, w0);
      fill(WEIGHT_ARG n1, k0, depth, w1);
#else
      SLICE w0 = w + (size_t)n0 * K + (size_t)k0 * 16;
      SLICE w1 = w + (size_t)n1 * K + (size_t)k0 * 16;
#endif
      int m = JOIN(tiles, MR)(0, rows, x, w0, w1, OUTPUT_ARG, start0, start1, strip, k0, depth);
      m = tiles4(m, rows, x, w0, w1, OUTPUT_ARG, start0, start1, strip, k0, depth);
      tiles1(m, rows, x, w0, w1, OUTPUT_ARG, start0, start1, strip, k0, depth);
    }
}

__kernel SERIAL void gemm_cpu(PARAMS) {
  gemm_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
