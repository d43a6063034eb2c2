// tokens_B = ids[b, PAST+SEQ] = lowest id of the largest of logits[b*ROWS+ROWS-1]; PAST += SEQ
//
//   logits f32[B*ROWS, V], tokens i32[B], ids i32[B, C+1]         class cpu; any V, one work-item
//   -1 stands for logits that are not numbers: any NaN, a maximum of +inf, or none above -inf
// This is the only kernel that writes `sym`: the next step's position needs no word from the host.
#include "common.cl"
#define PARAMS                                                                                \
  __global int *sym, __global const float *logits, __global int *tokens, __global int *ids
#define LOWEST (-3.402823466e38f)

int best_of(__global const float *x) {
  float16 best = LOWEST;
  int16 best_id = -1, bad = 0;
  int16 lanes = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int i = 0;
  for (; i + 16 <= V; i += 16) {
    const float16 v = vload16(0, x + i);
    const int16 above = (v > best) | ((best_id < 0) & (v >= best));
    bad |= (v != v);
    best = select(best, v, above);
    best_id = select(best_id, lanes, above);
    lanes += 16;
  }
  float value[16];
  int id[16], wrong[16];                 // lanes meet through memory: see TAILS in common.cl
  vstore16(best, 0, value);
  vstore16(best_id, 0, id);
  vstore16(bad, 0, wrong);
  float top = LOWEST;
  int top_id = -1, nan = 0;
  for (int lane = 0; lane < 16; lane++) {
    nan |= wrong[lane];
    if (id[lane] < 0) continue;
    if (top_id < 0 || value[lane] > top || (value[lane] == top && id[lane] < top_id)) {
      top = value[lane];
      top_id = id[lane];
    }
  }
  for (; i < V; i++) {
    nan |= x[i] != x[i];
    if (x[i] > top || (top_id < 0 && x[i] >= top)) {
      top = x[i];
      top_id = i;
    }
  }
  return nan || top > -LOWEST ? -1 : top_id;
}

void argmax_cpu_body(int id, int n, PARAMS) {
  if (id != 0) return;
  for (int b = 0; b < B; b++) {
    const int best = best_of(logits + ((size_t)b * ROWS + ROWS - 1) * V);
    tokens[b] = best;
    ids[b * (C + 1) + PAST + SEQ] = best;
  }
  PAST += SEQ;
}

__kernel SERIAL void argmax_cpu(PARAMS) {
  argmax_cpu_body(get_global_id(0), get_global_size(0), sym, logits, tokens, ids);
}
