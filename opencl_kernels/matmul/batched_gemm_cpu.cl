// y[b, m, n] = sum over k of left[b, m, k] * right[b, k, n]                            class cpu
//
//   Arguments, sizes, strides, EPILOGUE: see batched.clh
// A work-item has a range of blocks of ROWS_OF_BLOCK rows and 32 columns. Their sums wait in private
// memory while slices of KC rows of the right side pass, each of which lies there as vectors, too.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#ifndef MR // rows of the register tile: MR x 32 outputs, 2 * MR accumulators
#define MR 12
#endif
#ifndef KC // rows of a slice: 32 columns of it should stay in the first cache
#define KC 256
#endif
#ifndef ROWS_OF_BLOCK // so many rows use a slice that was brought once
#define ROWS_OF_BLOCK 192
#endif
#include "batched.clh"
#include "epilogue_cpu.clh"
// Tiles of MR rows, and smaller ones for the rows that these leave; MR is none of the others.
#define T MR
#include "batched_tile_cpu.clh"
#define T 4
#include "batched_tile_cpu.clh"
#define T 1
#include "batched_tile_cpu.clh"

// Vectors of 32 columns, of which `columns` are there: u the first 16 of each k, v the others.
void bring(RIGHT_POINTER right, __global const int *sym, int depth, int columns, float16 *u,
           float16 *v) {
#if RIGHT_ALONG
  for (int k = 0; k < depth; k++) {
    u[k] = LOAD_SOME(RIGHT_HALF, right, (size_t)k * (RIGHT_K), columns);
    v[k] = LOAD_SOME(RIGHT_HALF, right, (size_t)k * (RIGHT_K) + 16, columns - 16);
  }
#else
  for (int k = 0; k < depth; k++) u[k] = v[k] = 0.0f;
  for (int n = 0; n < min(columns, 32); n++) {
    float *to = (float *)(n < 16 ? u : v) + n % 16;
    for (int k = 0; k < depth; k++)
      to[16 * k] = LOAD(RIGHT_HALF, right, (size_t)n * (RIGHT_N) + (size_t)k * (RIGHT_K));
  }
#endif
}

void batched_gemm_cpu_body(int id, int n, OPERANDS) {
  const int rows = M, columns = N, depth = K, strips = CEIL_DIV(columns, 32);
  const int blocks = CEIL_DIV(rows, ROWS_OF_BLOCK), items = BATCH * blocks * strips;
  float16 u[KC], v[KC], sums[2 * ROWS_OF_BLOCK];
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int r = item / strips / blocks, n0 = item % strips * 32;
    const int m0 = item / strips % blocks * ROWS_OF_BLOCK, count = min(ROWS_OF_BLOCK, rows - m0);
    COORDINATES
    LEFT_POINTER left = LEFT + (LEFT_FIRST) + (size_t)m0 * (LEFT_M);
    RIGHT_POINTER right = RIGHT + (RIGHT_FIRST) + (size_t)n0 * (RIGHT_N);
    for (int i = 0; i < 2 * count; i++) sums[i] = 0.0f;
    for (int k0 = 0; k0 < depth; k0 += KC) {
      const int slice = min(KC, depth - k0);
      bring(right + (size_t)k0 * (RIGHT_K), sym, slice, columns - n0, u, v);
      LEFT_POINTER from = left + (size_t)k0 * (LEFT_K);
      int m = JOIN(tiles, MR)(0, count, from, sym, slice, u, v, sums);
      m = tiles4(m, count, from, sym, slice, u, v, sums);
      tiles1(m, count, from, sym, slice, u, v, sums);
    }
    for (int i = 0; i < count; i++) {
      const int row = r * rows + m0 + i, rest = columns - n0;
      const size_t at = (size_t)row * columns + n0;
      STORE_SOME(Y_HALF, ENDED16(sums[2 * i], 0.0f, row, n0, rest), y, at, rest);
      if (rest > 16)
        STORE_SOME(Y_HALF, ENDED16(sums[2 * i + 1], 0.0f, row, n0 + 16, rest - 16), y, at + 16,
                   rest - 16);
    }
  }
}

__kernel SERIAL void batched_gemm_cpu(OPERANDS) {
  batched_gemm_cpu_body(get_global_id(0), get_global_size(0), OPERANDS_ARG);
}
