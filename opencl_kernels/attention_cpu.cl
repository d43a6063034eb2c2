// y_MHK = softmax_j(q_MHK . k_jK * SCALE) v_jK over the visible keys of the states       class cpu
//
//   q X[M, H, K], k_state and v_state KV[B, G, C, K], y Y[M, H, K]; row m is token i = m % SEQ of
//   batch row b = m / SEQ; H / G query heads share a K/V head; any K
//   Token i sees key j where START(b) <= j <= PAST+i and, with a WINDOW, j > PAST+i-WINDOW.
//   A row that sees nothing (left padding) gives zeros.
//   RING     key j lies in slot j % C (else in slot j)
//   SOFTCAP  where defined, scores pass through SOFTCAP * tanh(score / SOFTCAP)
//   PREFILL  1: attention_prefill_cpu, 0: attention_decode_cpu; same arguments, same results
//   QB       tokens that share a pass over the keys: 1 in decode, in prefill 8 (default) or more
//   GROUPS   work-items (grid only)
// An item is QB tokens of one (b, K/V head). Keys go by 16: their scores fill a float16, so that
// one exp serves 16 of them and the running maximum moves at most once per 16. A tile of K and V
// is copied (and widened) once for all QB * H/G query rows. In prefill K is then transposed, and
// scores are a matrix product with 16 keys per vector; in decode they are dot products.
#include "common.cl"
#define HEADS (H / G)
#define QR (QB * HEADS)                  // query rows of an item: token-major, then head
#define KP CEIL_DIV(K, 16)               // vectors per head
#if PREFILL
#define NAME attention_prefill_cpu
#define RT 8                             // query rows of a register tile; QB is a multiple of it
#else
#define NAME attention_decode_cpu
#define RT 1
#endif
#if RING
#define SLOT(j) ((j) % C)
#else
#define SLOT(j) (j)
#endif
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *q,                                 \
      __global const STORAGE(KV_HALF) *k_state, __global const STORAGE(KV_HALF) *v_state,     \
      __global STORAGE(Y_HALF) *y
#define LANES ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))

// 16 keys of a state, from key j on, as rows of KP vectors; keys beyond `keys` become zero.
void load_tile(__global const STORAGE(KV_HALF) *state, int j, int keys, float *tile) {
  for (int t = 0; t < 16; t++) {
    const size_t from = (size_t)SLOT(j + t) * K;
    for (int c = 0; c < KP; c++) {
      const int count = t < keys ? K - c * 16 : 0;
      vstore16(LOAD_SOME(KV_HALF, state, from + c * 16, count), t * KP + c, tile);
    }
  }
}

// scores[QR][16] of query rows q[QR][KP*16] with the 16 keys of a tile
void score_tile(const float *q, const float *tile, float *scores) {
#if PREFILL
  float across[KP * 256];                // [d][key]: scores of 16 keys grow together
  for (int t = 0; t < 16; t++)
    for (int d = 0; d < KP * 16; d++) across[d * 16 + t] = tile[t * KP * 16 + d];
  for (int r = 0; r < QR; r += RT) {
    float16 sum[RT];
    UNROLL for (int i = 0; i < RT; i++) sum[i] = 0.0f;
    for (int d = 0; d < K; d++) {
      const float16 k = vload16(d, across);
      UNROLL for (int i = 0; i < RT; i++) sum[i] = q[(r + i) * KP * 16 + d] * k + sum[i];
    }
    UNROLL for (int i = 0; i < RT; i++) vstore16(sum[i], r + i, scores);
  }
#else
  for (int t = 0; t < 16; t++)
    for (int r = 0; r < QR; r++) {
      float16 sum = 0.0f;
      for (int c = 0; c < KP; c++) sum = vload16(r * KP + c, q) * vload16(t * KP + c, tile) + sum;
      scores[r * 16 + t] = sum16(sum);
    }
#endif
}

// One step of the online softmax of a row: scores -> weights of the keys lowest .. highest; returns
// by how much what was summed before has to shrink.
float soften(float *scores, int j, int lowest, int highest, float *top, float *total) {
  float16 s = vload16(0, scores);
#ifdef SOFTCAP
  s = SOFTCAP * tanh(s / SOFTCAP);
#endif
  const int16 visible = (LANES + j >= lowest) & (LANES + j <= highest);
  const float highest_score = fmax(*top, max16(select((float16)(MASKED), s, visible)));
  const float shrink = exp(*top - highest_score);
  const float16 weights = select((float16)(0.0f), exp(s - highest_score), visible);
  vstore16(weights, 0, scores);
  *top = highest_score;
  *total = *total * shrink + sum16(weights);
  return shrink;
}

// out[QR][KP] = out * shrink + weights[QR][16] * tile[16][KP]
void mix_tile(const float *weights, const float *shrink, const float *tile, float *out) {
  for (int r = 0; r < QR; r += RT)
    for (int c = 0; c < KP; c++) {
      float16 sum[RT];
      UNROLL for (int i = 0; i < RT; i++) sum[i] = vload16((r + i) * KP + c, out) * shrink[r + i];
      for (int t = 0; t < 16; t++) {
        const float16 v = vload16(t * KP + c, tile);
        UNROLL for (int i = 0; i < RT; i++) sum[i] = weights[(r + i) * 16 + t] * v + sum[i];
      }
      UNROLL for (int i = 0; i < RT; i++) vstore16(sum[i], (r + i) * KP + c, out);
    }
}

void JOIN(NAME, _body)(int id, int n, PARAMS) {
  const int seq = SEQ, past = PAST, blocks = CEIL_DIV(seq, QB), items = B * G * blocks;
  float queries[QR * KP * 16], out[QR * KP * 16], tile[KP * 256], scores[QR * 16];
  float top[QR], total[QR], shrink[QR];
  for (int item = SPLIT(id, n, items); item < SPLIT(id + 1, n, items); item++) {
    const int b = item / (G * blocks), g = item / blocks % G, i0 = item % blocks * QB;
    const int rows = min(QB, seq - i0) * HEADS;          // the last block may be short
    const size_t state = ((size_t)b * G + g) * C * K;
    for (int r = 0; r < QR; r++) {
      const size_t from = ((size_t)(b * seq + i0 + r / HEADS) * H + g * HEADS + r % HEADS) * K;
      for (int c = 0; c < KP; c++) {
        const int count = r < rows ? K - c * 16 : 0;
        vstore16(LOAD_SOME(X_HALF, q, from + c * 16, count) * SCALE, r * KP + c, queries);
        vstore16((float16)(0.0f), r * KP + c, out);
      }
      top[r] = MASKED;
      total[r] = 0.0f;
    }
    const int start = START(b), end = min(past + i0 + QB, past + seq);
    const int begin = WINDOW ? max(start, past + i0 - WINDOW + 1) : start;
    for (int j = begin; j < end; j += 16) {
      load_tile(k_state + state, j, end - j, tile);
      score_tile(queries, tile, scores);
      for (int r = 0; r < QR; r++) {
        const int self = past + i0 + r / HEADS;
        const int lowest = WINDOW ? max(start, self - WINDOW + 1) : start;
        shrink[r] = soften(scores + r * 16, j, lowest, min(self, end - 1), top + r, total + r);
      }
      load_tile(v_state + state, j, end - j, tile);
      mix_tile(scores, shrink, tile, out);
    }
    for (int r = 0; r < rows; r++) {
      const size_t to = ((size_t)(b * seq + i0 + r / HEADS) * H + g * HEADS + r % HEADS) * K;
      const float scale = total[r] > 0.0f ? 1.0f / total[r] : 0.0f;
      for (int c = 0; c < KP; c++)
        STORE_SOME(Y_HALF, vload16(r * KP + c, out) * scale, y, to + c * 16, K - c * 16);
    }
  }
}

__kernel SERIAL void NAME(PARAMS) {
  JOIN(NAME, _body)(get_global_id(0), get_global_size(0), sym, q, k_state, v_state, y);
}
