// y[m, d] = sum over g of part[g, m, d] + r[m, d] + bias[d]                          both classes
//
//   part f32[G][M][D], r X[M, D] where RESIDUAL, bias f32[D] where BIAS, y Y[M, D]; any D
// An item is 16 columns of a row. Parts are added in their order, whoever made them.
#ifndef WORKERS // work-items of the launch; 0: one for each item
#define WORKERS 0
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#ifndef D
#define D 64
#endif
#ifndef G
#define G 2
#endif
#ifndef RESIDUAL
#define RESIDUAL 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#include "common.clh"
#if RESIDUAL
#define RESIDUAL_PARAM __global const STORAGE(X_HALF) *r,
#define RESIDUAL_ARG r,
#define REST16(at, left) LOAD_SOME(X_HALF, r, at, left)
#else
#define RESIDUAL_PARAM
#define RESIDUAL_ARG
#define REST16(at, left) 0.0f
#endif
#if BIAS
#define BIAS_PARAM __global const float *bias,
#define BIAS_ARG bias,
#define BIAS16(d, left) LOAD_SOME(0, bias, d, left)
#else
#define BIAS_PARAM
#define BIAS_ARG
#define BIAS16(d, left) 0.0f
#endif
#define COLUMNS CEIL_DIV(D, 16)
#define PARAMS                                                                                \
  __global const int *sym, __global const float *part, RESIDUAL_PARAM BIAS_PARAM              \
      __global STORAGE(Y_HALF) *y

void add_parts_body(int id, int n, PARAMS) {
  const int items = (M) * COLUMNS;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int d = item % COLUMNS * 16, at = item / COLUMNS * D + d, left = D - d;
    float16 sum = 0.0f;
    for (int g = 0; g < G; g++) sum += LOAD_SOME(0, part, g * (M) * D + at, left);
    STORE_SOME(Y_HALF, sum + (REST16(at, left) + BIAS16(d, left)), y, at, left);
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void add_parts(PARAMS) {
  add_parts_body(get_global_id(0), get_global_size(0), sym, part, RESIDUAL_ARG BIAS_ARG y);
}
