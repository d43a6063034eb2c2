// y_MHV = softmax_j(SCORE(q_MHK . k_jK * SCALE)) v_jV over the visible keys           class generic
//
//   Arguments, visible keys, SCORE, SINK, SPLITS: see attention.clh; RING: states.clh; any K, V
//   PREFILL  1: attention_prefill, 0: attention_decode, with SPLITS attention_split
// A work-group is QB tokens of HA heads of one (b, K/V head): groups (token block and split, K/V
// head and block of its query heads, b). Per tile each work-item scores one key for all rows, then
// owns columns of the head for all rows. Local memory: QB * HA * (K + WG + 2) floats.
#ifndef WG // work-items per work-group and keys per tile
#define WG 64
#endif
#ifndef QB // tokens that share a pass over the keys; 1 in decode
#define QB 4
#endif
#ifndef HB // query heads that share it; 0: all H/G of a K/V head, where they find room
#define HB 0
#endif
#ifndef PREFILL
#define PREFILL 1
#endif
#include "attention.clh"
#define HA (HB ? HB : HEADS)
#define HEAD_BLOCKS CEIL_DIV(HEADS, HA)
#define QR (QB * HA) // query rows of a group: token-major, then head
#define OWN CEIL_DIV(V, WG) // columns of a work-item
#if SPLITS
#define NAME attention_split
#elif PREFILL
#define NAME attention_prefill
#else
#define NAME attention_decode
#endif
// The head of q and y that query row r is.
#define ROW(r) head_of(b * seq + first + (r) / heads, g, h0 + (r) % heads)
#define AT(r) ROW_AT(b, g * HEADS + h0 + (r) % heads, first + (r) / heads)

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void NAME(PARAMS) {
  __local float queries[QR][K], weights[QR][WG], top[QR], shrink[QR];
  const int lane = get_local_id(0), first = get_group_id(0) / SPLIT_COUNT * QB;
  const int g = get_group_id(1) / HEAD_BLOCKS, h0 = get_group_id(1) % HEAD_BLOCKS * HA;
  const int b = get_group_id(2), seq = SEQ, past = PAST, start = START(b);
  const int heads = HEADS % HA ? min(HA, HEADS - h0) : HA; // the last block may be short,
  const int rows = min(QB, seq - first) * heads; // of heads and of tokens
  const int split = get_group_id(0) % SPLIT_COUNT, lowest = lowest_key(past + first, start);
  const int last = past + min(seq, first + QB), most = CEIL_DIV(max(0, last - lowest), SPLIT_COUNT);
  const int begin = lowest + split * most, end = min(last, begin + most);
  const size_t k_head = head_at(b, g, K), v_head = head_at(b, g, V);
  // Rows begin without a key: nothing summed, the lowest of all scores.
  float out[QR][OWN], total[QR];
  for (int r = 0; r < QR; r++) {
    total[r] = 0.0f;
    for (int c = 0; c < OWN; c++) out[r][c] = 0.0f;
  }
  for (int i = lane; i < rows * K; i += WG)
    queries[i / K][i % K] = LOAD(X_HALF, q, ROW(i / K) * K + i % K) * SCALE;
  for (int r = lane; r < rows; r += WG) top[r] = MASKED;
  for (int r = 0; SINKS && split == 0 && r < rows; r++) { // or with their sink, in the first split
    AT(r)
    SINK_LETS const float sink = SINK, highest = fmax(sink, MASKED);
    total[r] = exp(sink - highest);
    if (r % WG == lane) top[r] = highest;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int j0 = begin; j0 < end; j0 += WG) { // a tile: first a score of its own key for every row,
    const int j = j0 + lane, keys = min(WG, end - j0);
    for (int r = 0; r < rows; r++) {
      const int self = past + first + r / heads;
      float score = MASKED;
      if (j <= self && j >= lowest_key(self, start)) {
        const size_t key = k_head + (size_t)slot(j) * K;
        AT(r) const int i3 = j;
        float s = 0.0f;
        for (int d = 0; d < K; d++) s = queries[r][d] * LOAD(KV_HALF, k_state, key + d) + s;
        SCORE_LETS score = SCORE;
      }
      weights[r][lane] = score;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int r = lane; r < rows; r += WG) { // the running maximum, a row per work-item
      float highest = top[r];
      for (int t = 0; t < keys; t++) highest = fmax(highest, weights[r][t]);
      shrink[r] = exp(top[r] - highest);
      top[r] = highest;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int r = 0; r < rows; r++) { // scores become weights,
      const float score = weights[r][lane];
      weights[r][lane] = score <= MASKED ? 0.0f : exp(score - top[r]); // NaN stays NaN
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int r = 0; r < rows; r++) { // what was summed before shrinks by as much,
      total[r] *= shrink[r];
      for (int c = 0; c < OWN; c++) out[r][c] *= shrink[r];
    }
    for (int t = 0; t < keys; t++) { // and values are added, by each work-item in its columns.
      const size_t value = v_head + (size_t)slot(j0 + t) * V;
      float v[OWN];
      for (int c = 0; c < OWN; c++)
        v[c] = lane + c * WG < V ? LOAD(KV_HALF, v_state, value + lane + c * WG) : 0.0f;
      for (int r = 0; r < rows; r++) {
        total[r] += weights[r][t];
        for (int c = 0; c < OWN; c++) out[r][c] = weights[r][t] * v[c] + out[r][c];
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE); // weights are about to be filled again
  }
#if SPLITS // as they are, for attention_combine
  for (int r = 0; r < rows; r++) {
    __global float *part = splits + (ROW(r) * SPLITS + split) * (V + 2);
    for (int c = 0; c < OWN; c++)
      if (lane + c * WG < V) part[lane + c * WG] = out[r][c];
    if (lane == 0) {
      part[V] = top[r];
      part[V + 1] = total[r];
    }
  }
#else // zeros where nothing was seen
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < OWN; c++)
      if (lane + c * WG < V)
        STORE(Y_HALF, total[r] == 0.0f ? 0.0f : out[r][c] / total[r], y,
              ROW(r) * V + lane + c * WG);
#endif
}
