// y_MHK = sum_s exp(top_s - max top) values_sK / sum_s exp(top_s - max top) total_s
//
//   splits f32[M, H, SPLITS, K+2]: what attention_split found in each split of the keys, values_K,
//   top and total; y Y[M, H, K]                                 both classes; any K
//   A row without any key (total 0) gives zeros.
//   LOCAL    work-group size: 1 on cpu
// An item is 16 columns of one head.
#include "common.clh"
#define COLUMNS CEIL_DIV(K, 16)
#define PARAMS                                                                                \
  __global const int *sym, __global const float *splits, __global STORAGE(Y_HALF) *y

void attention_combine_body(int id, int n, PARAMS) {
  const int items = (M) * H * COLUMNS;
  for (int item = SPLIT(id, n, items); item < SPLIT(id + 1, n, items); item++) {
    const int first = item % COLUMNS * 16;
    const size_t row = item / COLUMNS;
    __global const float *part = splits + row * SPLITS * (K + 2);
    float top = MASKED, total = 0.0f;
    float16 sum = 0.0f;
    for (int s = 0; s < SPLITS; s++) top = fmax(top, part[s * (K + 2) + K]);
    for (int s = 0; s < SPLITS; s++, part += K + 2) {
      const float weight = exp(part[K] - top);
      total = weight * part[K + 1] + total;
      sum = weight * LOAD_SOME(0, part, first, K - first) + sum;
    }
    const float scale = total == 0.0f ? 0.0f : 1.0f / total;
    STORE_SOME(Y_HALF, sum * scale, y, row * K + first, K - first);
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void attention_combine(PARAMS) {
  attention_combine_body(get_global_id(0), get_global_size(0), sym, splits, y);
}
