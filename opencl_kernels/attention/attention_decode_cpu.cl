// y_MHV = softmax_j(SCORE(q_MHK . k_jK * SCALE)) v_jV over the visible keys of the states class cpu
//
//   Arguments, visible keys, SCORE, SINK, SPLITS: see attention.clh; RING: states.clh; any K, V
//   SPLITS 0: attention_decode_cpu, for one token or few; else attention_split_cpu
// An item is one token of one (b, K/V head), or one split of it. Keys go by BLOCK: their scores,
// the online softmax, then the values. Rows of K and V are read where they lie, once for all HR
// heads whose sums find room in the registers; while one of the two is read, the other is asked
// for.
#ifndef WORKERS // work-items of the launch
#define WORKERS 8
#endif
#include "attention_cpu.clh"
#define PASSES CEIL_DIV(HEADS * VP, 24) // of the 32 registers
#define HR CEIL_DIV(HEADS, PASSES) // heads of a pass
#define QR (CEIL_DIV(HEADS, HR) * HR)
#if SPLITS
#define NAME attention_split_cpu
#else
#define NAME attention_decode_cpu
#endif

// Asks for a row of K or V that is needed soon.
void prefetch_row(STATE row, int width) {
  UNROLL for (int at = 0; at < (int)(width * sizeof(STORAGE(KV_HALF))); at += 64)
    PREFETCH_LINE((__global const char *)row + at, 3);
}

// scores[HR][BLOCK] of HR heads q[HR][KP] with the keys j, j+1 ...
void score(const float16 *q, STATE k_head, STATE v_head, int j, int keys, float16 *scores) {
  vector products[HR * 16]; // [head][key], still to be summed
  if (keys < BLOCK)
    for (int i = 0; i < HR * 16; i++) products[i].whole = 0.0f;
  for (int tile = 0; tile < keys; tile += 16) {
    for (int t = 0; t < min(16, keys - tile); t++) {
      const size_t at = slot(j + tile + t), from = at * K;
      float16 k[KP];
      prefetch_row(v_head + at * V, V);
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
  for (int i = 0; i * 16 < keys; i++)
    highest = fmax(highest, select((float16)(MASKED), scores[i], LANES + i * 16 < keys));
  const float now = fmax(*top, max16(highest)), shrink = exp(*top - now);
  *total *= shrink;
  for (int i = 0; i * 16 < keys; i++) {
    scores[i] = select((float16)(0.0f), exp(scores[i] - now), LANES + i * 16 < keys);
    *total += scores[i];
  }
  *top = now;
  return shrink;
}

// out[HR][VP] = out * shrink + weights[HR][BLOCK] * values of the keys j, j+1 ...
void mix(const float *weights, const float *shrink, STATE v_head, STATE k_head, int j, int keys,
         float16 *out) {
  float16 sum[HR * VP];
  UNROLL for (int i = 0; i < HR * VP; i++) sum[i] = out[i] * shrink[i / VP];
  for (int t = 0; t < keys; t++) {
    const size_t from = (size_t)slot(j + t) * V;
    prefetch_row(k_head + (size_t)slot(j + t + BLOCK) * K, K);
    UNROLL for (int c = 0; c < VP; c++) {
      const float16 v = LOAD_SOME(KV_HALF, v_head, from + c * 16, V - c * 16);
      UNROLL for (int r = 0; r < HR; r++)
        sum[r * VP + c] = weights[r * BLOCK + t] * v + sum[r * VP + c];
    }
  }
  UNROLL for (int i = 0; i < HR * VP; i++) out[i] = sum[i];
}

void JOIN(NAME, _body)(int id, int n, PARAMS) {
  const int seq = SEQ, items = B * G * seq * SPLIT_COUNT;
  float16 queries[QR * KP], out[QR * VP], scores[HR * BLOCK / 16], totals[QR];
  float top[QR], shrink[HR];
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int split = item % SPLIT_COUNT, i = item / SPLIT_COUNT % seq;
    const int g = item / SPLIT_COUNT / seq % G, b = item / SPLIT_COUNT / seq / G;
    const int self = PAST + i, lowest = lowest_key(self, START(b));
    const size_t head = head_of(b * seq + i, g, 0);
    STATE k_head = k_state + head_at(b, g, K);
    STATE v_head = v_state + head_at(b, g, V);
    // Heads begin without a key: nothing summed, the lowest of all scores.
    for (int r = 0; r < QR; r++) {
      for (int c = 0; c < KP; c++) {
        const int count = r < HEADS ? K - c * 16 : 0;
        queries[r * KP + c] = LOAD_SOME(X_HALF, q, (head + r) * K + c * 16, count) * SCALE;
      }
      for (int c = 0; c < VP; c++) out[r * VP + c] = 0.0f;
      totals[r] = 0.0f;
      top[r] = MASKED;
    }
    if (SINKS && split == 0) // the others leave it to the first
      for (int r = 0; r < HEADS; r++) {
        ROW_AT(b, g * HEADS + r, i)
        SEE_SINK(top[r], totals[r])
      }
    // The keys of this split, all that the token sees where there is but one.
    const int most = CEIL_DIV(max(0, self + 1 - lowest), SPLIT_COUNT);
    const int begin = lowest + split * most, end = min(self + 1, begin + most);
    for (int j = begin; j < end; j += BLOCK)
      for (int r = 0; r < HEADS; r += HR) {
        const int keys = min(BLOCK, end - j);
        score(queries + r * KP, k_head, v_head, j, keys, scores);
        for (int h = 0; SCORED && h < min(HR, HEADS - r); h++) {
          ROW_AT(b, g * HEADS + r + h, i)
          RESCORE((float *)scores + h * BLOCK, j, 0, keys)
        }
        for (int h = 0; h < HR; h++)
          shrink[h] = soften(scores + h * BLOCK / 16, keys, top + r + h, totals + r + h);
        mix((const float *)scores, shrink, v_head, k_head, j, keys, out + r * VP);
      }
    for (int r = 0; r < HEADS; r++) {
      const float total = sum16(totals[r]);
#if SPLITS // as they are, for attention_combine
      __global float *to = splits + ((head + r) * SPLITS + split) * (V + 2);
      for (int c = 0; c < VP; c++) STORE_SOME(0, out[r * VP + c], to, c * 16, V - c * 16);
      to[V] = top[r];
      to[V + 1] = total;
#else
      const float scale = total == 0.0f ? 0.0f : 1.0f / total; // zeros where nothing was seen
      for (int c = 0; c < VP; c++)
        STORE_SOME(Y_HALF, out[r * VP + c] * scale, y, (head + r) * V + c * 16, V - c * 16);
#endif
    }
  }
}

__kernel SERIAL void NAME(PARAMS) {
  JOIN(NAME, _body)(get_global_id(0), get_global_size(0), ARGS);
}
