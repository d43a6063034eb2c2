// y_MHV = softmax_j(SCORE(q_MHK . k_jK * SCALE)) v_jV over the visible keys of the states class cpu
//
//   Arguments, visible keys, SCORE, SINK: see attention.clh; RING: states.clh; any K, V
// An item is QB tokens of one (b, K/V head). Keys go by BLOCK: transposed once for all QB * H/G
// query rows, so that scores are a matrix product with 16 keys per vector; then a step of the
// online softmax; then the product with the values, read where they lie.
#ifndef WORKERS // work-items of the launch
#define WORKERS 4
#endif
#ifndef QB // tokens that share a pass over the keys, a multiple of 8
#define QB 16
#endif
#include "attention_cpu.clh"
#define QR (QB * HEADS) // query rows of an item: token-major, then head
#define RT 8 // query rows of a register tile
#define CT (VP % 2 ? 1 : 2) // vectors of values in it
#define TILES (BLOCK / 16)

// across[KP*16][TILES]: element d of 16 keys to a vector; keys beyond `keys` become zero
void transpose(STATE k_head, int j, int keys, vector *across) {
  for (int t = 0; t < BLOCK; t += 4)
    for (int c = 0; c < KP; c++) {
      vector rows[4];
      UNROLL for (int i = 0; i < 4; i++) {
        const int count = t + i < keys ? K - c * 16 : 0;
        rows[i].whole = LOAD_SOME(KV_HALF, k_head, (size_t)slot(j + t + i) * K + c * 16, count);
      }
      UNROLL for (int e = 0; e < 4; e++) {
        const float4 r = rows[0].part4[e], s = rows[1].part4[e];
        const float4 u = rows[2].part4[e], v = rows[3].part4[e];
        vector *to = across + (c * 16 + e * 4) * TILES + t / 16;
        to[0 * TILES].part4[t % 16 / 4] = (float4)(r.x, s.x, u.x, v.x);
        to[1 * TILES].part4[t % 16 / 4] = (float4)(r.y, s.y, u.y, v.y);
        to[2 * TILES].part4[t % 16 / 4] = (float4)(r.z, s.z, u.z, v.z);
        to[3 * TILES].part4[t % 16 / 4] = (float4)(r.w, s.w, u.w, v.w);
      }
    }
}

// scores[QR][TILES] of query rows q[QR][KP*16]
void score(const float *q, const vector *across, float16 *scores) {
  for (int r = 0; r < QR; r += RT) {
    float16 sum[RT * TILES];
    UNROLL for (int i = 0; i < RT * TILES; i++) sum[i] = 0.0f;
    for (int d = 0; d < K; d++)
      UNROLL for (int i = 0; i < RT * TILES; i++)
        sum[i] = q[(r + i / TILES) * KP * 16 + d] * across[d * TILES + i % TILES].whole + sum[i];
    UNROLL for (int i = 0; i < RT * TILES; i++) scores[r * TILES + i] = sum[i];
  }
}

// One step of the online softmax of a row: scores -> weights of the keys lowest .. highest, where
// key j is the first; returns by how much what was summed before has to shrink.
float soften(float16 *scores, int j, int lowest, int highest, float *top, float16 *total) {
  float16 most = MASKED;
  int16 visible[TILES];
  UNROLL for (int i = 0; i < TILES; i++) {
    visible[i] = (LANES + (j + i * 16) >= lowest) & (LANES + (j + i * 16) <= highest);
    most = fmax(most, select((float16)(MASKED), scores[i], visible[i]));
  }
  const float before = *top, now = fmax(before, max16(most));
  const float shrink = now > before ? exp(before - now) : 1.0f;
  *total *= shrink;
  UNROLL for (int i = 0; i < TILES; i++) {
    scores[i] = select((float16)(0.0f), exp(scores[i] - now), visible[i]);
    *total += scores[i];
  }
  *top = now;
  return shrink;
}

// out[QR][VP] = out * shrink + weights[QR][BLOCK] * values of the keys j, j+1 ...
void mix(const float *weights, const float *shrink, STATE v_head, int j, int keys, float16 *out) {
  for (int r = 0; r < QR; r += RT)
    for (int c = 0; c < VP; c += CT) {
      float16 sum[RT * CT];
      UNROLL for (int i = 0; i < RT * CT; i++)
        sum[i] = out[(r + i / CT) * VP + c + i % CT] * shrink[r + i / CT];
      for (int t = 0; t < keys; t++) {
        const size_t from = (size_t)slot(j + t) * V + c * 16;
        float16 v[CT];
        UNROLL for (int i = 0; i < CT; i++)
          v[i] = LOAD_SOME(KV_HALF, v_head, from + i * 16, V - (c + i) * 16);
        UNROLL for (int i = 0; i < RT * CT; i++)
          sum[i] = weights[(r + i / CT) * BLOCK + t] * v[i % CT] + sum[i];
      }
      UNROLL for (int i = 0; i < RT * CT; i++) out[(r + i / CT) * VP + c + i % CT] = sum[i];
    }
}

void attention_prefill_cpu_body(int id, int n, PARAMS) {
  const int seq = SEQ, past = PAST, blocks = CEIL_DIV(seq, QB), items = B * G * blocks;
  float16 queries[QR * KP], out[QR * VP], scores[QR * TILES], totals[QR];
  vector across[KP * 16 * TILES];
  float top[QR], shrink[QR];
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int b = item / (G * blocks), g = item / blocks % G, first = item % blocks * QB;
    const int rows = min(QB, seq - first) * HEADS; // the last block may be short
    STATE k_head = k_state + head_at(b, g, K);
    STATE v_head = v_state + head_at(b, g, V);
    // Rows begin without a key: nothing summed, the lowest of all scores.
    for (int r = 0; r < QR; r++) {
      const size_t from = head_of(b * seq + first + r / HEADS, g, r % HEADS) * K;
      for (int c = 0; c < KP; c++) {
        const int count = r < rows ? K - c * 16 : 0;
        queries[r * KP + c] = LOAD_SOME(X_HALF, q, from + c * 16, count) * SCALE;
      }
      for (int c = 0; c < VP; c++) out[r * VP + c] = 0.0f;
      top[r] = MASKED;
      totals[r] = 0.0f;
    }
    for (int r = 0; SINKS && r < rows; r++) {
      ROW_AT(b, g * HEADS + r % HEADS, first + r / HEADS)
      SEE_SINK(top[r], totals[r])
    }
    // The keys that any of the tokens sees; what a row does not see gets no weight.
    const int start = START(b), end = min(past + first + QB, past + seq);
    for (int j = lowest_key(past + first, start); j < end; j += BLOCK) {
      transpose(k_head, j, end - j, across);
      score((const float *)queries, across, scores);
      for (int r = 0; r < QR; r++) {
        const int self = past + first + r / HEADS, highest = min(self, end - 1);
        const int lowest = lowest_key(self, start);
        if (SCORED && r < rows) {
          ROW_AT(b, g * HEADS + r % HEADS, first + r / HEADS)
          RESCORE((float *)scores + r * BLOCK, j, max(0, lowest - j), min(BLOCK, highest + 1 - j))
        }
        shrink[r] = soften(scores + r * TILES, j, lowest, highest, top + r, totals + r);
      }
      mix((const float *)scores, shrink, v_head, j, min(BLOCK, end - j), out);
    }
    for (int r = 0; r < rows; r++) { // a row that saw nothing gives zeros
      const size_t to = head_of(b * seq + first + r / HEADS, g, r % HEADS) * V;
      const float total = sum16(totals[r]), scale = total == 0.0f ? 0.0f : 1.0f / total;
      for (int c = 0; c < VP; c++)
        STORE_SOME(Y_HALF, out[r * VP + c] * scale, y, to + c * 16, V - c * 16);
    }
  }
}

__kernel SERIAL void attention_prefill_cpu(PARAMS) {
  attention_prefill_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
