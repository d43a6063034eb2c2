// y_MHV = sum_s exp(top_s - max top) values_sV / sum_s exp(top_s - max top) total_s
//
//   splits f32[M, H, SPLITS, V+2]: what attention_split found in each split of the keys: values_V,
//   top and total; y Y[M, H, V]                                 both classes; any V
//   A row without any key (total 0) gives zeros.
// An item is 16 columns of one head.
#ifndef WORKERS // work-items of the launch; 0: one for each item
#define WORKERS 0
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#ifndef SPLITS
#define SPLITS 4
#endif
#include "states.clh"
#define COLUMNS CEIL_DIV(V, 16)
#define PARAMS                                                                                \
  __global const int *sym, __global const float *splits, __global STORAGE(Y_HALF) *y

void attention_combine_body(int id, int n, PARAMS) {
  const int items = (M) * H * COLUMNS;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int first = item % COLUMNS * 16;
    const size_t row = item / COLUMNS;
    __global const float *split = splits + row * SPLITS * (V + 2);
    float top = MASKED, total = 0.0f;
    float16 sum = 0.0f;
    // The greatest score of all splits is what every weight is relative to.
    for (int s = 0; s < SPLITS; s++) top = fmax(top, split[s * (V + 2) + V]);
    for (int s = 0; s < SPLITS; s++, split += V + 2) {
      const float weight = exp(split[V] - top);
      total = weight * split[V + 1] + total;
      sum = weight * LOAD_SOME(0, split, first, V - first) + sum;
    }
    const float scale = total == 0.0f ? 0.0f : 1.0f / total;
    STORE_SOME(Y_HALF, sum * scale, y, row * V + first, V - first);
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void attention_combine(PARAMS) {
  attention_combine_body(get_global_id(0), get_global_size(0), sym, splits, y);
}
