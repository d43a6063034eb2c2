// y_MHV = softmax_j(SCORE(q_MHK . k_jK * SCALE)) v_jV over the visible keys        q, K, V in halves
//
//   Arguments, visible keys, SCORE, SINK, SPLITS: see attention.clh; RING: states.clh; any K, V
//   PREFILL  1: attention_prefill_half, 0: attention_decode_half, with SPLITS attention_split_half
// A row is a query head of a token. A work-group has QROWS of the rows that share a K/V head, in
// prefill of several tokens, else of one: groups (block of rows and split, K/V head, b). Queries and
// tiles of keys and values lie in local memory as the halves that they are, eight to a vector:
// scores are RR rows by RK keys of a work-item, values RO rows by OWN vectors, so that each vector
// read feeds many products, and registers hold no more than that. Products and sums are floats:
// those of two halves are exact, and nothing overflows.
// Tiles before the first key that a row sees and behind the last are left out by their number.
#ifndef WG // work-items per work-group; a power of two, as the next five
#define WG 64
#endif
#ifndef KEYS // of a tile
#define KEYS 32
#endif
#ifndef KEY_SETS // work-items that share a row's keys, each KEYS / KEY_SETS; at most WG
#define KEY_SETS 8
#endif
#ifndef DEPTH // vectors of a key that are in local memory at once
#define DEPTH 16
#endif
#ifndef ACROSS // work-items that share a row's values; at most WG
#define ACROSS 8
#endif
#ifndef VALUES // of a tile that are in local memory at once: at most KEYS
#define VALUES 32
#endif
#ifndef QROWS // of a work-group: a multiple of WG / KEY_SETS
#define QROWS 64
#endif
#ifndef PREFILL
#define PREFILL 1
#endif
#ifndef X_HALF
#define X_HALF 1
#endif
#ifndef KV_HALF
#define KV_HALF 1
#endif
#include "attention_tiles.clh"
#if SPLITS
#define NAME attention_split_half
#elif PREFILL
#define NAME attention_prefill_half
#else
#define NAME attention_decode_half
#endif

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void NAME(PARAMS) {
  __local uint4 queries[K8 * QROWS], tile[ROOM];
  __local float weights[KEYS * STRIDE], part[KEY_SETS * PLACES], shrink[PLACES];
#include "attention_begin.clh"
  __global const half *x = q + head * K;
  STATE keys = k_state + head_at(b, g, K);
  STATE values = v_state + head_at(b, g, V);
  for (int i = lane; i < K8 * QROWS; i += WG) {
    const int r = i / K8, d = i % K8, at = HEAD_OF(first + r) * K + d * 8;
    queries[d * QROWS + r] = r < rows ? EIGHT(x, at, d * 8, K) : (uint4)(0);
  }
  // scores: the rows `set` + n ROW_SETS, from place `set` RR on, of the keys `key` + n KEY_SETS
  const int key = lane % KEY_SETS, set = lane / KEY_SETS;
  // values: the vectors `column` + n ACROSS of the rows at the places from `place` on
  const int column = lane % ACROSS, place = lane / ACROSS * RO;
  for (int i = lane; i < PLACES; i += WG) // beyond the rows
    for (int t = 0; t < KEYS && i >= QROWS; t++) weights[t * STRIDE + i] = 0.0f;
  for (int i = lane; i < PLACES; i += WG) shrink[i] = 1.0f;
  // A row begins without a key: nothing summed, the lowest of all scores
  float top[RR], total[RR];
  int self[RR];
  UNROLL for (int r = 0; r < RR; r++) {
    const int row = set + r * ROW_SETS;
    ROW_AT(b, g * HEADS + (first + row) % HEADS, (first + row) / HEADS)
    self[r] = row < rows ? past + i2 : -1;
    top[r] = MASKED;
    total[r] = 0.0f;
    if (SINKS && split == 0 && row < rows) { // or with its sink, in the first split
      SINK_LETS const float sink = SINK;
      top[r] = fmax(sink, MASKED);
      total[r] = key == 0 ? exp(sink - top[r]) : 0.0f;
    }
  }
  float8 out[RO * OWN];
  UNROLL for (int i = 0; i < RO * OWN; i++) out[i] = 0.0f;

  for (int j0 = begin; j0 < end; j0 += KEYS) {
    const int count = min(KEYS, end - j0);
    float scores[RK * RR], highest[RR];
    UNROLL for (int i = 0; i < RK * RR; i++) scores[i] = 0.0f;
#include "attention_tile_scores.clh"
#include "attention_tile_values.clh"
  }
  BARRIER;
  UNROLL for (int r = 0; r < RR; r++) {
    part[key * PLACES + set * RR + r] = total[r];
    if (key == 0) shrink[set * RR + r] = top[r];
  }
  BARRIER;
  UNROLL for (int i = 0; i < RO * OWN; i++) {
    const int r = place + i / OWN, row = ROW_OF(r), d = (column + i % OWN * ACROSS) * 8;
    if (r < QROWS && row < rows && d < V) {
      const int to = HEAD_OF(first + row);
      float sum_of_weights = 0.0f;
      for (int n = 0; n < KEY_SETS; n++) sum_of_weights += part[n * PLACES + r];
#if SPLITS // as they are, for attention_combine
      __global float *found = splits + ((head + to) * SPLITS + split) * (V + 2);
      PUT_EIGHT(0, out[i], found, d, d, V)
      if (d == 0) found[V] = shrink[r];
      if (d == 0) found[V + 1] = sum_of_weights;
#else // zeros where nothing was seen
      const float8 mean = out[i] * (sum_of_weights == 0.0f ? 0.0f : 1.0f / sum_of_weights);
      PUT_EIGHT(Y_HALF, mean, y + head * V, to * V + d, d, V)
#endif
    }
  }
}
