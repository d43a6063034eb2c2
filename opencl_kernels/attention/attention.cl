// y_MHV = softmax_j(SCORE(q_MHK . k_jK * SCALE)) v_jV over the visible keys           class generic
//
//   Arguments, visible keys, SCORE, SINK, SPLITS: see attention.clh; RING: states.clh; any K, V
//   PREFILL  1: attention_prefill, 0: attention_decode, with SPLITS attention_split
// A row is a query head of a token. A work-group has QROWS of the rows that share a K/V head, in
// prefill of several tokens, else of one: groups (block of rows and split, K/V head, b). It goes
// over its keys by tiles, in three steps between which work-items change what they own:
//   scores   RK keys for RR rows; keys come through local memory, D4 vectors at a time, so that
//            whole lines are read, each but once for all rows
//   softmax  a share of the keys of one row
//   values   four columns for all rows, of every GROUPS-th key
// Private arrays are indexed by constants only: elsewhere GPUs put them into memory.
#ifndef WG // work-items per work-group
#define WG 64
#endif
#ifndef KEYS // of a tile; a power of two, at most WG, at least WG / 8
#define KEYS 64
#endif
#ifndef QROWS // of a work-group, at most WG
#define QROWS 8
#endif
#ifndef PREFILL
#define PREFILL 1
#endif
#include "attention.clh"
#include "groups.clh"
#define K4 CEIL_DIV(K, 4) // vectors of a key,
#define V4 CEIL_DIV(V, 4) // of a value,
#define D4 8 // and of a key in local memory: lines of halves
#define LINE (KEYS + 1) // from one of them to the next: no two lanes of a wave on one bank
#define RK (QROWS > 2 ? 2 : 1)
#define KEYS_APART (KEYS / RK) // from one key of a work-item to its next
#define ROW_SETS (WG / KEYS_APART) // of RR rows
#define RR CEIL_DIV(QROWS, ROW_SETS)
#define ROWS_HELD (ROW_SETS * RR) // QROWS and perhaps a few of zeros
#define STRIDE ((CEIL_DIV(ROWS_HELD, 4) | 1) * 4) // weights of a key: vectors, an odd number
#define SHARES (WG / QROWS < 8 ? WG / QROWS : 8) // work-items of a row in the softmax
#define ACROSS (V4 < WG ? V4 : WG) // work-items that read a value,
#define OWN CEIL_DIV(V4, WG) // so many vectors each
#define GROUPS (WG / ACROSS)
#define AHEAD 4 // values that are asked for at once
#define HELD (D4 * LINE / WG) // vectors of each work-item that find room where keys were
#if SPLITS
#define NAME attention_split
#elif PREFILL
#define NAME attention_prefill
#else
#define NAME attention_decode
#endif
#if PREFILL // rows in the order of tokens, then heads
#define FIRST_ROW(block) ((block) * QROWS)
#define ROWS_END(block) (seq * HEADS)
#else
#define BLOCKS CEIL_DIV(HEADS, QROWS) // of a token
#define FIRST_ROW(block) ((block) / BLOCKS * HEADS + (block) % BLOCKS * QROWS)
#define ROWS_END(block) ((block) / BLOCKS * HEADS + HEADS)
#endif
// The head of q and y that a row is, beyond the first of this text and K/V head.
#define HEAD_OF(row) ((row) / HEADS * H + (row) % HEADS)
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE)
// Four elements of p from i on, the d-th and so on of `width`.
#define INSIDE(h, p, i, d, width) ((d) < (width) ? LOAD(h, p, i) : 0.0f)
#define FOUR(h, p, i, d, width)                                                               \
  ((width) % 4 == 0                                                                           \
       ? LOAD4(h, p, i)                                                                       \
       : (float4)(LOAD(h, p, i), INSIDE(h, p, (i) + 1, (d) + 1, width),                       \
                  INSIDE(h, p, (i) + 2, (d) + 2, width), INSIDE(h, p, (i) + 3, (d) + 3, width)))
#define PUT_FOUR(h, v, p, i, d, width)                                                        \
  if ((d) + 4 <= (width)) {                                                                   \
    STORE4(h, v, p, i);                                                                       \
  } else {                                                                                    \
    STORE(h, (v).x, p, i);                                                                    \
    if ((d) + 1 < (width)) STORE(h, (v).y, p, (i) + 1);                                       \
    if ((d) + 2 < (width)) STORE(h, (v).z, p, (i) + 2);                                       \
  }
#define ADD_DOT(u, v, s) ((u).x * (v).x + ((u).y * (v).y + ((u).z * (v).z + ((u).w * (v).w + (s)))))
// Of the n-th value that was asked for, to row r; no more than a definition where there is none.
#define ADD_VALUE(r, weight)                                                                  \
  if ((r) < QROWS) out[(r) * OWN + c] = (weight) * v[n * OWN + c] + out[(r) * OWN + c];

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void NAME(PARAMS) {
  __local float4 queries[ROWS_HELD * K4], tile[D4 * LINE];
  __local float weights[KEYS * STRIDE], part[WG], shrink[QROWS];
#include "attention_begin.clh"
  __global const STORAGE(X_HALF) *x = q + head * K;
  STATE keys = k_state + head_at(b, g, K);
  STATE values = v_state + head_at(b, g, V);
  for (int i = lane; i < ROWS_HELD * K4; i += WG) {
    const int r = i / K4, d = i % K4 * 4, at = HEAD_OF(first + r) * K + d;
    queries[i] = r < rows ? FOUR(X_HALF, x, at, d, K) * SCALE : (float4)(0.0f);
  }
  // scores: these rows of the keys `key`, `key` + KEYS_APART
  const int key = lane % KEYS_APART, score_row = lane / KEYS_APART * RR;
  // softmax: this row, which begins without a key: nothing summed, the lowest of all scores
  const int row = lane % QROWS, share = lane / QROWS < SHARES ? lane / QROWS : WG;
  ROW_AT(b, g * HEADS + (first + row) % HEADS, (first + row) / HEADS)
  const int self = row < rows ? past + i2 : -1, from = lowest_key(self, start);
  float top = MASKED, total = 0.0f;
  if (SINKS && split == 0 && row < rows) { // or with its sink, in the first split
    SINK_LETS const float sink = SINK;
    top = fmax(sink, MASKED);
    total = share == 0 ? exp(sink - top) : 0.0f;
  }
  // values: the columns `column`, `column` + WG ... of every GROUPS-th key from `group` on
  const int column = lane % ACROSS, group = lane / ACROSS < GROUPS ? lane / ACROSS : WG;
  float4 out[QROWS * OWN];
  UNROLL for (int i = 0; i < QROWS * OWN; i++) out[i] = 0.0f;

  for (int j0 = begin; j0 < end; j0 += KEYS) {
    const int count = min(KEYS, end - j0);
    float scores[RK * RR];
    UNROLL for (int i = 0; i < RK * RR; i++) scores[i] = 0.0f;
    for (int c0 = 0; c0 < K4; c0 += D4) {
      BARRIER; // all have done with what lies there
      UNROLL for (int n = 0; n < D4 * KEYS / WG; n++) {
        const int i = n * WG + lane, t = i / D4, c = c0 + i % D4;
        const int at = slot(j0 + t) * K + c * 4;
        const bool there = t < count && c < K4;
        tile[i % D4 * LINE + t] = there ? FOUR(KV_HALF, keys, at, c * 4, K) : (float4)(0.0f);
      }
      BARRIER;
      for (int c = 0; c < min(D4, K4 - c0); c++) {
        float4 k[RK];
        UNROLL for (int n = 0; n < RK; n++) k[n] = tile[c * LINE + key + n * KEYS_APART];
        UNROLL for (int r = 0; r < RR; r++) {
          const float4 u = queries[(score_row + r) * K4 + c0 + c];
          UNROLL for (int n = 0; n < RK; n++)
            scores[n * RR + r] = ADD_DOT(u, k[n], scores[n * RR + r]);
        }
      }
    }
    UNROLL for (int i = 0; i < RK * RR; i++)
      weights[(key + i / RR * KEYS_APART) * STRIDE + score_row + i % RR] = scores[i];
    BARRIER;
    float highest = top;
    for (int t = share; t < KEYS; t += SHARES) {
      const int i3 = j0 + t;
      float score = MASKED;
      if (i3 >= from && i3 <= self && t < count) {
        const float s = weights[t * STRIDE + row];
        SCORE_LETS score = SCORE;
      }
      weights[t * STRIDE + row] = score;
      highest = fmax(highest, score);
    }
    part[lane] = highest;
    BARRIER;
    UNROLL for (int n = 0; n < SHARES; n++) highest = fmax(highest, part[n * QROWS + row]);
    const float less = exp(top - highest);
    top = highest;
    total *= less;
    for (int t = share; t < KEYS; t += SHARES) { // scores become weights
      const float score = weights[t * STRIDE + row];
      const float weight = score <= MASKED ? 0.0f : exp(score - top); // NaN stays NaN
      weights[t * STRIDE + row] = weight;
      total += weight;
    }
    if (share == 0) shrink[row] = less;
    BARRIER;
    UNROLL for (int i = 0; i < QROWS * OWN; i++) out[i] *= shrink[i / OWN];
    for (int t0 = group; t0 < count; t0 += GROUPS * AHEAD) {
      float4 v[AHEAD * OWN];
      UNROLL for (int i = 0; i < AHEAD * OWN; i++) {
        const int t = t0 + i / OWN * GROUPS, d = (column + i % OWN * WG) * 4;
        v[i] = t < count && d < V ? FOUR(KV_HALF, values, slot(j0 + t) * V + d, d, V) : 0.0f;
      }
      UNROLL for (int n = 0; n < AHEAD; n++) {
        const int t = t0 + n * GROUPS, at = t < count ? t * STRIDE : 0;
        UNROLL for (int r = 0; r < QROWS; r += 4) {
          const float4 w = vload4(0, weights + at + r);
          UNROLL for (int c = 0; c < OWN; c++) {
            ADD_VALUE(r, w.x) ADD_VALUE(r + 1, w.y) ADD_VALUE(r + 2, w.z) ADD_VALUE(r + 3, w.w)
          }
        }
      }
    }
  }
  BARRIER;
  part[lane] = share < WG ? total : 0.0f;
  if (share == 0) shrink[row] = top;
  // What the groups summed is added up and written.
  UNROLL for (int n0 = 0; n0 < QROWS * OWN; n0 += HELD) {
    if (n0) BARRIER;
    UNROLL for (int n = 0; n < HELD; n++)
      if (n0 + n < QROWS * OWN) tile[n * WG + lane] = out[n0 + n];
    BARRIER;
    for (int i = lane; i < min(HELD, QROWS * OWN - n0) * ACROSS; i += WG) {
      const int n = n0 + i / ACROSS, r = n / OWN, d = (i % ACROSS + n % OWN * WG) * 4;
      if (r >= rows || d >= V) continue;
      const int to = HEAD_OF(first + r);
      float4 sum = 0.0f;
      float sum_of_weights = 0.0f;
      for (int m = 0; m < GROUPS; m++) sum += tile[(n - n0) * WG + m * ACROSS + i % ACROSS];
      for (int m = 0; m < SHARES; m++) sum_of_weights += part[m * QROWS + r];
#if SPLITS // as they are, for attention_combine
      __global float *found = splits + ((head + to) * SPLITS + split) * (V + 2);
      PUT_FOUR(0, sum, found, d, d, V)
      if (d == 0) found[V] = shrink[r];
      if (d == 0) found[V + 1] = sum_of_weights;
#else // zeros where nothing was seen
      sum *= sum_of_weights == 0.0f ? 0.0f : 1.0f / sum_of_weights;
      PUT_FOUR(Y_HALF, sum, y + head * V, to * V + d, d, V)
#endif
    }
  }
}
