// y_MF = act(gate_MF) * up_MF,  act = silu(v) = v / (1 + exp(-v)) or relu(v) = max(v, 0)
//
//   gu X[M, 2*FP]: gate and up interleaved in blocks of 16 columns (FP = F rounded up to 16)
//   y Y[M, F]                                                   both classes; any F
//   ACT      0 silu, 1 relu
//   LOCAL    work-group size: 1 on cpu
// An item is 16 columns of one row.
#include "common.cl"
#define COLUMNS CEIL_DIV(F, 16)
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *gu, __global STORAGE(Y_HALF) *y

void glu_body(int id, int n, PARAMS) {
  const int items = (M) * COLUMNS;
  for (int item = SPLIT(id, n, items); item < SPLIT(id + 1, n, items); item++) {
    const int m = item / COLUMNS, block = item % COLUMNS;
    const float16 gate = LOAD16(X_HALF, gu, (size_t)item * 32);
    const float16 up = LOAD16(X_HALF, gu, (size_t)item * 32 + 16);
    STORE_SOME(Y_HALF, ACTIVATE(gate) * up, y, (size_t)m * F + block * 16, F - block * 16);
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void glu(PARAMS) {
  glu_body(get_global_id(0), get_global_size(0), sym, gu, y);
}
