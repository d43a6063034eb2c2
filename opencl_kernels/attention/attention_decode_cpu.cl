// y_MHK = softmax_j(q_MHK . k_jK * SCALE) v_jK over the visible keys of the states       class cpu
//
//   Arguments, visible keys, RING and SOFTCAP: as in attention_prefill_cpu.cl, for one token or few.
//   SPLITS   0: attention_decode_cpu; else attention_split_cpu, which splits the keys of a token
//            among so many items. Instead of y it writes, for attention_combine to read,
//            splits f32[M, H, SPLITS, K+2]: weighted values, the greatest score, the weights' total
//   WORKERS  work-items (grid only)
// An item is one token of one (b, K/V head), or one split of it. Keys go by BLOCK: their scores, the
// online softmax, then the values. Rows of K and V are read where they lie, once for all HR heads
// whose sums find room in the registers; while one of the two is read, the other is asked for.
#include "attention_cpu.clh"
#define PASSES CEIL_DIV(HEADS * KP, 24)  // of the 32 registers
#define HR CEIL_DIV(HEADS, PASSES)       // heads of a pass
#define QR (CEIL_DIV(HEADS, HR) * HR)
#define BLOCK 32
#if SPLITS
#define NAME attention_split_cpu
#define SPLIT_COUNT SPLITS
#define OUTPUT __global float *splits
#define OUTPUT_ARG splits
#else
#define NAME attention_decode_cpu
#define SPLIT_COUNT 1
#define OUTPUT __global STORAGE(Y_HALF) *y
#define OUTPUT_ARG y
#endif
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *q, STATE k_state, STATE v_state, OUTPUT

// scores[HR][BLOCK] of HR heads q[HR][KP] with the keys j, j+1 ...
void score(const float16 *q, STATE k_head, STATE v_head, int j, int keys, float16 *scores) {
  vector products[HR * 16];              // [head][key], still to be summed
  if (keys < BLOCK)
    for (int i = 0; i < HR * 16; i++) products[i].whole = 0.0f;
  for (int tile = 0; tile < keys; tile += 16) {
    for (int t = 0; t < min(16, keys - tile); t++) {
      const size_t from = (size_t)SLOT(j + tile + t) * K;
      float16 k[KP];
      ASK_FOR(v_head + from, ROW_BYTES)
      UNROLL for (int c = 0; c < KP; c++)
        k[c] = LOAD_SOME(KV_HALF, k_head, from + c * 16, K - c * 16);
      UNROLL for (int r = 0; r < HR; r++) {
        float16 sum = q[r * KP] * k[0];
        UNROLL for (int c = 1; c < KP; c++) sum = q[r * KP + c] * k[c] + sum;
        products[r * 16 + t].whole = sum;
      }
    }
    for (int r = 0; r < HR; r++) scores[(r * BLOCK + tile) / 16] = sums_of(products + r * 16);
  }
}

// One step of the online softmax of a head: scores of `keys` keys become weights. Returns by how
// much what was summed before has to shrink.
float soften(float16 *scores, int keys, float *top, float16 *total) {
  float16 highest = MASKED;
  for (int i = 0; i * 16 < keys; i++) {
#ifdef SOFTCAP
    scores[i] = SOFTCAP * tanh(scores[i] / SOFTCAP);
#endif
    highest = fmax(highest, select((float16)(MASKED), scores[i], LANES + i * 16 < keys));
  }
  const float now = fmax(*top, max16(highest)), shrink = exp(*top - now);
  *total *= shrink;
  for (int i = 0; i * 16 < keys; i++) {
    scores[i] = select((float16)(0.0f), exp(scores[i] - now), LANES + i * 16 < keys);
    *total += scores[i];
  }
  *top = now;
  return shrink;
}

// out[HR][KP] = out * shrink + weights[HR][BLOCK] * values of the keys j, j+1 ...
void mix(const float *weights, const float *shrink, STATE v_head, STATE k_head, int j, int keys,
         float16 *out) {
  float16 sum[HR * KP];
  UNROLL for (int i = 0; i < HR * KP; i++) sum[i] = out[i] * shrink[i / KP];
  for (int t = 0; t < keys; t++) {
    const size_t from = (size_t)SLOT(j + t) * K;
    ASK_FOR(k_head + (size_t)SLOT(j + t + BLOCK) * K, ROW_BYTES)
    UNROLL for (int c = 0; c < KP; c++) {
      const float16 v = LOAD_SOME(KV_HALF, v_head, from + c * 16, K - c * 16);
      UNROLL for (int r = 0; r < HR; r++)
        sum[r * KP + c] = weights[r * BLOCK + t] * v + sum[r * KP + c];
    }
  }
  UNROLL for (int i = 0; i < HR * KP; i++) out[i] = sum[i];
}

void JOIN(NAME, _body)(int id, int n, PARAMS) {
  const int seq = SEQ, items = B * G * seq * SPLIT_COUNT;
  float16 queries[QR * KP], out[QR * KP], scores[HR * BLOCK / 16], totals[QR];
  float top[QR], shrink[HR];
  for (int item = SPLIT(id, n, items); item < SPLIT(id + 1, n, items); item++) {
    const int split = item % SPLIT_COUNT, i = item / SPLIT_COUNT % seq;
    const int g = item / SPLIT_COUNT / seq % G, b = item / SPLIT_COUNT / seq / G;
    const int self = PAST + i, start = START(b);
    const size_t row = (size_t)(b * seq + i) * H + g * HEADS;
    STATE k_head = k_state + ((size_t)b * G + g) * C * K;
    STATE v_head = v_state + ((size_t)b * G + g) * C * K;
    for (int r = 0; r < QR; r++) {
      for (int c = 0; c < KP; c++) {
        const int count = r < HEADS ? K - c * 16 : 0;
        queries[r * KP + c] = LOAD_SOME(X_HALF, q, (row + r) * K + c * 16, count) * SCALE;
        out[r * KP + c] = 0.0f;
      }
      totals[r] = 0.0f;
      top[r] = MASKED;
    }
    const int lowest = WINDOW ? max(start, self - WINDOW + 1) : start;
    const int most = CEIL_DIV(max(0, self + 1 - lowest), SPLIT_COUNT), begin = lowest + split * most;
    const int end = min(self + 1, begin + most);
    for (int j = begin; j < end; j += BLOCK)
      for (int r = 0; r < HEADS; r += HR) {
        const int keys = min(BLOCK, end - j);
        score(queries + r * KP, k_head, v_head, j, keys, scores);
        for (int h = 0; h < HR; h++)
          shrink[h] = soften(scores + h * BLOCK / 16, keys, top + r + h, totals + r + h);
        mix((const float *)scores, shrink, v_head, k_head, j, keys, out + r * KP);
      }
    for (int r = 0; r < HEADS; r++) {
      const float total = sum16(totals[r]);
#if SPLITS
      __global float *part = splits + ((row + r) * SPLITS + split) * (K + 2);
      for (int c = 0; c < KP; c++) STORE_SOME(0, out[r * KP + c], part, c * 16, K - c * 16);
      part[K] = top[r];
      part[K + 1] = total;
#else
      const float scale = total > 0.0f ? 1.0f / total : 0.0f;
      for (int c = 0; c < KP; c++)
        STORE_SOME(Y_HALF, out[r * KP + c] * scale, y, (row + r) * K + c * 16, K - c * 16);
#endif
    }
  }
}

__kernel SERIAL void NAME(PARAMS) {
  JOIN(NAME, _body)(get_global_id(0), get_global_size(0), sym, q, k_state, v_state, OUTPUT_ARG);
}
