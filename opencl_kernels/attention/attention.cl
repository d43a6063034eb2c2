// y_MHK = softmax_j(q_MHK . k_jK * SCALE) v_jK over the visible keys of the states   class generic
//
//   q X[M, H, K], k_state and v_state KV[B, G, C, K], y Y[M, H, K]; row m is token i = m % SEQ of
//   batch row b = m / SEQ; H / G query heads share a K/V head; any K
//   Token i sees key j where START(b) <= j <= PAST+i and, with a WINDOW, j > PAST+i-WINDOW.
//   A row that sees nothing (left padding) gives zeros.
//   RING     key j lies in slot j % C (else in slot j)
//   SOFTCAP  where defined, scores pass through SOFTCAP * tanh(score / SOFTCAP)
//   PREFILL  1: attention_prefill, 0: attention_decode; same arguments, same results
//   SPLITS   0, or in decode attention_split: the keys of a token are split among so many groups,
//            which write, instead of y, what attention_combine reads:
//            splits f32[M, H, SPLITS, K+2]: weighted values, the greatest score, the weights' total
//   QB       tokens that share a pass over the keys: 1 in decode, in prefill 4 (default)
//   HB       query heads that share it: all H/G of a K/V head (default) where they find room
//   WG       work-items per work-group and keys per tile (default 64)
// A work-group is QB tokens of HB heads of one (b, K/V head): groups (token block and split, K/V
// head and block of its query heads, b). Per tile each work-item scores one key for all rows, then
// owns columns of the head for all rows. Local memory: QB * HB * (K + WG + 2) floats.
#include "common.clh"
#define HEADS (H / G)
#define HEAD_BLOCKS CEIL_DIV(HEADS, HB)
#define QR (QB * HB)                     // query rows of a group: token-major, then head
#define OWN CEIL_DIV(K, WG)              // columns of a work-item
#if SPLITS
#define NAME attention_split
#define SPLIT_COUNT SPLITS
#define OUTPUT __global float *splits
#else
#if PREFILL
#define NAME attention_prefill
#else
#define NAME attention_decode
#endif
#define SPLIT_COUNT 1
#define OUTPUT __global STORAGE(Y_HALF) *y
#endif
#if RING
#define SLOT(j) ((j) % C)
#else
#define SLOT(j) (j)
#endif
#define LOWEST_KEY(self) (WINDOW ? max(start, (self) - WINDOW + 1) : start)
#define ROW(r) ((size_t)(b * seq + i0 + (r) / heads) * H + g * HEADS + h0 + (r) % heads)

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void NAME(__global const int *sym, __global const STORAGE(X_HALF) *q,
          __global const STORAGE(KV_HALF) *k_state, __global const STORAGE(KV_HALF) *v_state,
          OUTPUT) {
  __local float queries[QR][K], weights[QR][WG], top[QR], shrink[QR];
  const int lane = get_local_id(0), i0 = get_group_id(0) / SPLIT_COUNT * QB;
  const int g = get_group_id(1) / HEAD_BLOCKS, h0 = get_group_id(1) % HEAD_BLOCKS * HB;
  const int b = get_group_id(2), seq = SEQ, past = PAST, start = START(b);
  const int heads = HEADS % HB ? min(HB, HEADS - h0) : HB;   // the last block may be short,
  const int rows = min(QB, seq - i0) * heads;                // of heads and of tokens
  const int split = get_group_id(0) % SPLIT_COUNT, lowest = LOWEST_KEY(past + i0);
  const int last = past + min(seq, i0 + QB), most = CEIL_DIV(max(0, last - lowest), SPLIT_COUNT);
  const int begin = lowest + split * most, end = min(last, begin + most);
  const size_t state = ((size_t)b * G + g) * C * K;
  float out[QR][OWN], total[QR];
  for (int r = 0; r < QR; r++) {
    total[r] = 0.0f;
    for (int c = 0; c < OWN; c++) out[r][c] = 0.0f;
  }
  for (int i = lane; i < rows * K; i += WG)
    queries[i / K][i % K] = LOAD(X_HALF, q, ROW(i / K) * K + i % K) * SCALE;
  for (int r = lane; r < rows; r += WG) top[r] = MASKED;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int j0 = begin; j0 < end; j0 += WG) {
    const int j = j0 + lane, keys = min(WG, end - j0);
    for (int r = 0; r < rows; r++) {
      const int self = past + i0 + r / heads;
      float score = MASKED;
      if (j <= self && j >= LOWEST_KEY(self)) {
        const size_t key = state + (size_t)SLOT(j) * K;
        score = 0.0f;
        for (int d = 0; d < K; d++) score = queries[r][d] * LOAD(KV_HALF, k_state, key + d) + score;
#ifdef SOFTCAP
        score = SOFTCAP * tanh(score / SOFTCAP);
#endif
      }
      weights[r][lane] = score;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int r = lane; r < rows; r += WG) {              // the running maximum, a row per work-item
      float highest = top[r];
      for (int t = 0; t < keys; t++) highest = fmax(highest, weights[r][t]);
      shrink[r] = exp(top[r] - highest);
      top[r] = highest;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int r = 0; r < rows; r++) {
      const float score = weights[r][lane];
      weights[r][lane] = score <= MASKED ? 0.0f : exp(score - top[r]);     // NaN stays NaN
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int r = 0; r < rows; r++) {
      total[r] *= shrink[r];
      for (int c = 0; c < OWN; c++) out[r][c] *= shrink[r];
    }
    for (int t = 0; t < keys; t++) {
      const size_t value = state + (size_t)SLOT(j0 + t) * K;
      float v[OWN];
      for (int c = 0; c < OWN; c++)
        v[c] = lane + c * WG < K ? LOAD(KV_HALF, v_state, value + lane + c * WG) : 0.0f;
      for (int r = 0; r < rows; r++) {
        total[r] += weights[r][t];
        for (int c = 0; c < OWN; c++) out[r][c] = weights[r][t] * v[c] + out[r][c];
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);                        // weights are about to be filled again
  }
#if SPLITS
  for (int r = 0; r < rows; r++) {
    __global float *part = splits + (ROW(r) * SPLITS + split) * (K + 2);
    for (int c = 0; c < OWN; c++)
      if (lane + c * WG < K) part[lane + c * WG] = out[r][c];
    if (lane == 0) {
      part[K] = top[r];
      part[K + 1] = total[r];
    }
  }
#else
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < OWN; c++)
      if (lane + c * WG < K)
        STORE(Y_HALF, total[r] == 0.0f ? 0.0f : out[r][c] / total[r], y,
              ROW(r) * K + lane + c * WG);
#endif
}
