// tokens_B = ids[b, PAST+SEQ] = lowest id of the largest of logits[b*ROWS+ROWS-1]; PAST += SEQ
//
//   logits f32[B*ROWS, V], tokens i32[B], ids i32[B, C+1]         class generic; any V
//   WG  work-items, a power of two; one work-group does all (default 256)
//   -1 stands for logits that are not numbers: any NaN, a maximum of +inf, or none above -inf
// This is the only kernel that writes `sym`: the next step's position needs no word from the host.
#include "common.cl"
#define LOWEST (-3.402823466e38f)

// Does (value, id) come before (top, top_id)? An id of -1 is an empty hand, -2 a NaN seen.
int wins(float value, int id, float top, int top_id) {
  if (top_id == -2 || id == -1) return 0;
  if (id == -2 || top_id == -1) return 1;
  return value > top || (value == top && id < top_id);
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void argmax(__global int *sym, __global const float *logits, __global int *tokens,
            __global int *ids) {
  __local float value[WG];
  __local int id[WG];
  const int lane = get_local_id(0), rows = ROWS;
  for (int b = 0; b < B; b++) {
    __global const float *x = logits + ((size_t)b * rows + rows - 1) * V;
    float top = LOWEST;
    int top_id = -1;
    for (int i = lane; i < V; i += WG) {
      const int candidate = x[i] != x[i] ? -2 : x[i] >= LOWEST ? i : -1;
      if (wins(x[i], candidate, top, top_id)) {
        top = x[i];
        top_id = candidate;
      }
    }
    value[lane] = top;
    id[lane] = top_id;
    for (int width = WG / 2; width > 0; width /= 2) {
      barrier(CLK_LOCAL_MEM_FENCE);
      if (lane < width && wins(value[lane + width], id[lane + width], value[lane], id[lane])) {
        value[lane] = value[lane + width];
        id[lane] = id[lane + width];
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane == 0) {
      const int best = id[0] < 0 || value[0] > -LOWEST ? -1 : id[0];
      tokens[b] = best;
      ids[b * (C + 1) + PAST + SEQ] = best;
    }
    barrier(CLK_LOCAL_MEM_FENCE);        // before the next row fills value and id again
  }
  if (lane == 0) PAST += SEQ;
}
