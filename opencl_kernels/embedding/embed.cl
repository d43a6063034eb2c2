// y_MD = table_VD[tokens_M]        rows of the embedding; its layout n16 is that of any weight
//
//   tokens i32[M], table W[ceil(V/16)][D][16] or quantized (quantized.clh, with N = V and K = D),
//   y Y[M, D]                                                    both classes; any D
//   V        rows of this table (or of this piece of it)
//   PIECE 0  the whole table: ids are clamped into 0 .. V-1
//   PIECE 1  rows V0 .. V0+V-1 of a larger one: rows of y with other ids are left alone
// An item is 16 columns of one row.
#ifndef WORKERS // work-items of the launch; 0: one for each item
#define WORKERS 0
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#ifndef V
#define V 256
#endif
#ifndef D
#define D 64
#endif
#ifndef PIECE
#define PIECE 0
#endif
#ifndef V0
#define V0 0
#endif
#ifndef W_HALF
#define W_HALF 0
#endif
#ifndef BITS
#define BITS 0
#endif
#include "common.clh"
#if BITS
#define K D
#include "quantized.clh"
#define TABLE_PARAM QUANTIZED_PARAM
#define TABLE_ARG QUANTIZED_ARG
#define VALUE(row, d) weight_at(QUANTIZED_ARG row, d)
#else
#define TABLE_PARAM __global const STORAGE(W_HALF) *w,
#define TABLE_ARG w,
#define VALUE(row, d) LOAD(W_HALF, w, ((size_t)((row) / 16) * D + (d)) * 16 + (row) % 16)
#endif
#define COLUMNS CEIL_DIV(D, 16)
#define PARAMS                                                                                \
  __global const int *sym, __global const int *tokens, TABLE_PARAM __global STORAGE(Y_HALF) *y

void embed_body(int id, int n, PARAMS) {
  const int items = (M) * COLUMNS;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int m = item / COLUMNS, d0 = item % COLUMNS * 16;
    const int found = PIECE ? tokens[m] - V0 : clamp(tokens[m], 0, V - 1);
    if (found < 0 || found >= V) continue; // another piece has it
    for (int d = d0; d < min(d0 + 16, D); d++)
      STORE(Y_HALF, VALUE(found, d), y, (size_t)m * D + d);
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void embed(PARAMS) {
  embed_body(get_global_id(0), get_global_size(0), sym, tokens, TABLE_ARG y);
}
