// y_MD = table_VD[tokens_M]        rows of the embedding; its layout n16 is that of any weight
//
//   tokens i32[M], table W[ceil(V/16)][D][16] or in codes (matmul.clh, with K = D), y Y[M, D]
//   V        rows of this table (or of this piece of it)
//   PIECE 0  the whole table: ids are clamped into 0 .. V-1
//   PIECE 1  rows V0 .. V0+V-1 of a larger one: rows of y with other ids are left alone
//   LOCAL    work-group size: 1 on cpu
// An item is 16 columns of one row. Any D.
#include "common.clh"
#if BITS
#define K D
#include "quantized.clh"
#define TABLE_PARAM QUANTIZED_PARAM
#define TABLE_ARG QUANTIZED_ARG
#else
#define TABLE_PARAM __global const STORAGE(W_HALF) *w,
#define TABLE_ARG w,
#endif
#define COLUMNS CEIL_DIV(D, 16)
#define PARAMS                                                                                \
  __global const int *sym, __global const int *tokens, TABLE_PARAM __global STORAGE(Y_HALF) *y

void embed_body(int id, int n, PARAMS) {
  const int items = (M) * COLUMNS;
  for (int item = SPLIT(id, n, items); item < SPLIT(id + 1, n, items); item++) {
    const int m = item / COLUMNS, d0 = item % COLUMNS * 16;
#if PIECE
    const int row = tokens[m] - V0;
    if (row < 0 || row >= V) continue;
#else
    const int row = clamp(tokens[m], 0, V - 1);
#endif
    for (int d = d0; d < min(d0 + 16, D); d++) {
#if BITS
      const uint word = w[WORD_AT(row, d)];
      const size_t at = GROUP_AT(row, d);
      const float s = LOAD(SCALE_HALF, scale, at);
      const float value = CODE(word, d % CODES) * (s * UNIT) + (-UNIT - ZERO1(at)) * s;
#else
      const float value = LOAD(W_HALF, w, ((size_t)(row / 16) * D + d) * 16 + row % 16);
#endif
      STORE(Y_HALF, value, y, (size_t)m * D + d);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void embed(PARAMS) {
  embed_body(get_global_id(0), get_global_size(0), sym, tokens, TABLE_ARG y);
}
