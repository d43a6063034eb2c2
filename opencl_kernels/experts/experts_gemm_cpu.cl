// y[m, t] = W[e] x[m, t] + bias[e] of chosen experts, for many rows    class cpu; any N and K
//
//   Arguments, SHARED, BIAS, GLU, EPILOGUE: see experts.clh; w of any kind; MIX is 0
// A work-item has a range of strips of 32 columns of every expert. The rows that chose an expert are
// gathered, LIST at a time, and pass together, so that its weights are read, or decoded, once.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#ifndef MR // rows of the register tile: MR x 32 outputs, 2 * MR accumulators
#define MR 12
#endif
#ifndef KC // slice of K that is decoded at once; between slices the sums wait in private memory
#define KC 2048
#endif
#ifndef LIST // rows that are gathered, whole tiles
#define LIST 120
#endif
#include "experts.clh"
#include "epilogue_cpu.clh"
#ifndef PANEL_ROWS // KC, for codes rounded up to whole groups
#define PANEL_ROWS KC
#endif
#include "panel_cpu.clh"
#if GLU // a strip is gate and up of 16 outputs
#define OUT(strip) ((strip) * 16)
#else
#define OUT(strip) ((strip) * 32)
#endif
#include "experts_cpu.clh"
// Tiles of MR rows, and smaller ones for the rows that these leave; MR is none of the others.
#define T MR
#include "experts_tile_cpu.clh"
#define T 4
#include "experts_tile_cpu.clh"
#define T 1
#include "experts_tile_cpu.clh"

float16 bias_from(BIAS_PARAM int n0) { return BIAS16(n0); }

// The columns of one strip of expert e, for the rows of a list.
void multiply(int e, int strip, const int *list, int count, __global const STORAGE(X_HALF) *x,
              WEIGHT_PARAM BIAS_PARAM OUTPUT_PARAM) {
  const int n0 = strip * 32, n1 = n0 + 16 < N ? n0 + 16 : n0; // a lone last block
  const float16 start0 = bias_from(BIAS_ARG n0), start1 = bias_from(BIAS_ARG n0 + 16);
  float16 sums[K > KC ? 2 * LIST : 1];
#if PANEL
  float16 w0[PANEL_ROWS], w1[PANEL_ROWS];
#endif
  for (int k0 = 0; k0 < K; k0 += KC) {
    const int depth = min(KC, K - k0);
#if PANEL
    fill(WEIGHT_ARG n0, k0, depth, w0);
    fill(WEIGHT_ARG n1, k0, depth, w1);
#else
    SLICE w0 = w + (size_t)n0 * K + (size_t)k0 * 16;
    SLICE w1 = w + (size_t)n1 * K + (size_t)k0 * 16;
#endif
#define TILES(T, i)                                                                           \
  JOIN(gathered, T)(i, count, list, sums, x, w0, w1, OUTPUT_ARG, start0, start1, strip, k0, depth)
    int i = TILES(MR, 0);
    i = TILES(4, i);
    TILES(1, i);
  }
}

void experts_gemm_cpu_body(int id, int n, EXPERTS_PARAMS) {
  const int rows = M * CHOICES;
  for (int m = 0; m < rows; m++)
    if (EXPERT_OF(m) == NONE) clear_row(id, n, m, y);
  for (int p = 0; p < PIECES; p++) {
    const int e = EXPERT_IN(p);
    FIND(e)
    for (int next = 0; next < rows;) {
      int list[LIST], count = 0;
      for (; next < rows && count < LIST; next++)
        if (HAS_CHOSEN(next, e)) list[count++] = next;
      for (int s = first_item(id, n, PAIRS); count && s < first_item(id + 1, n, PAIRS); s++)
        multiply(e, s, list, count, x, WEIGHT_AT(e) BIAS_AT(e) OUTPUT_ARG);
    }
  }
}

__kernel SERIAL void experts_gemm_cpu(EXPERTS_PARAMS) {
  experts_gemm_cpu_body(get_global_id(0), get_global_size(0), EXPERTS_ARGS);
}
