// y_MHV = softmax_j(SCORE(q_MHK . k_jK * SCALE)) v_jV over the visible keys     one token; sub-groups
//
//   Arguments, visible keys, SCORE, SINK, SPLITS: see attention.clh; RING: states.clh; any K, V
//   The kernel is attention_decode_shuffle, with SPLITS attention_split_shuffle
// A work-group has a token's rows, the heads of a K/V head: groups (token and split, K/V head, b).
// CLUSTER work-items read a key and its value as one piece, eight elements each at a time, for the
// HH heads of their set; HEAD_SETS sets of heads that one work-item's registers cannot hold read the
// same at once. Halves stay halves until they are used: that takes half the registers. Keys go round among streams of such work-items, AHEAD of them at a time. A score is
// summed by shuffles, so that nothing waits for anyone until the streams' results are joined.
#ifndef WG // work-items per work-group: a multiple of CLUSTER * HEAD_SETS
#define WG 64
#endif
#ifndef CLUSTER // work-items that share a key; a power of two, at most a sub-group
#define CLUSTER 8
#endif
#ifndef HEAD_SETS // that read the same keys
#define HEAD_SETS 1
#endif
#ifndef REGISTERS // of a work-item: HEAD_SETS and AHEAD are chosen by them (clusters.py)
#define REGISTERS 256
#endif
#ifndef AHEAD // keys that a work-item asks for at once
#define AHEAD 4
#endif
#include "attention.clh"
#include "eights.clh"
#include "groups.clh"
#include "shuffle.clh"
#define HH CEIL_DIV(HEADS, HEAD_SETS)
#define STREAMS (WG / (CLUSTER * HEAD_SETS))
#define OF_KEY CEIL_DIV(CEIL_DIV(K, 8), CLUSTER) // vectors of a key that a work-item reads,
#define OF_VALUE CEIL_DIV(CEIL_DIV(V, 8), CLUSTER) // and of a value
#define COLUMN(n) ((column + (n) * CLUSTER) * 8)
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE)
#if SPLITS
#define NAME attention_split_shuffle
#else
#define NAME attention_decode_shuffle
#endif
#define INSIDE(h, p, i, d, n, width) ((d) + n < (width) ? LOAD(h, p, (i) + n) : 0.0f)
#define EIGHT(h, p, i, d, width)                                                              \
  ((width) % 8 == 0 ? JOIN(LOAD8_, h)(p, i) : (float8)(EACH_OF_EIGHT(INSIDE, h, p, i, d, width)))
#if KV_HALF && K % 8 == 0 && V % 8 == 0 && defined(cl_khr_fp16) // in one load
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define HELD uint4
#define HOLD(p, i, d, width) vload4(0, (__global const uint *)((p) + (i)))
#define FLOATS(held) convert_float8(as_half8(held))
#else
#define HELD float8
#define HOLD(p, i, d, width) EIGHT(KV_HALF, p, i, d, width)
#define FLOATS(held) (held)
#endif

__kernel SUB_GROUP __attribute__((reqd_work_group_size(WG, 1, 1)))
void NAME(PARAMS) {
  __local float8 sums[WG];
  __local float tops[HEAD_SETS * HH * STREAMS], totals[HEAD_SETS * HH * STREAMS];
  const int lane = LANE_OF_WAVES, g = get_group_id(1), b = get_group_id(2);
  const int column = lane % CLUSTER, set = lane / CLUSTER % HEAD_SETS;
  const int stream = lane / (CLUSTER * HEAD_SETS);
  const int split = GROUP_ID(0) % SPLIT_COUNT, token = GROUP_ID(0) / SPLIT_COUNT;
  const int self = PAST + token, lowest = lowest_key(self, START(b));
  const int most = CEIL_DIV(max(0, self + 1 - lowest), SPLIT_COUNT);
  const int begin = lowest + split * most, end = min(self + 1, begin + most);
  const size_t row = head_of(b * SEQ + token, g, 0);
  STATE keys = k_state + head_at(b, g, K);
  STATE values = v_state + head_at(b, g, V);
  float8 queries[HH * OF_KEY], out[HH * OF_VALUE];
  float top[HH], total[HH];
  UNROLL for (int i = 0; i < HH * OF_KEY; i++) {
    const int at = min(set * HH + i / OF_KEY, HEADS - 1) * K, d = COLUMN(i % OF_KEY);
    queries[i] = d < K ? EIGHT(X_HALF, q + row * K, at + d, d, K) * SCALE : (float8)(0.0f);
  }
  UNROLL for (int r = 0; r < HH; r++) {
    ROW_AT(b, g * HEADS + min(set * HH + r, HEADS - 1), token)
    top[r] = MASKED; // begins without a key: nothing summed, the lowest of all scores
    total[r] = 0.0f;
    if (SINKS && split == 0 && stream == 0) { // or with its sink, once
      SINK_LETS const float sink = SINK;
      top[r] = fmax(sink, MASKED);
      total[r] = exp(sink - top[r]);
    }
  }
  UNROLL for (int i = 0; i < HH * OF_VALUE; i++) out[i] = 0.0f;

  for (int j0 = begin; j0 < end; j0 += AHEAD * STREAMS) {
    HELD k[AHEAD * OF_KEY], v[AHEAD * OF_VALUE];
    float scores[AHEAD * HH], less[HH];
    UNROLL for (int i = 0; i < AHEAD * OF_KEY; i++) {
      const int j = j0 + i / OF_KEY * STREAMS + stream, d = COLUMN(i % OF_KEY);
      k[i] = j < end && d < K ? HOLD(keys, slot(j) * K + d, d, K) : (HELD)(0);
    }
    UNROLL for (int i = 0; i < AHEAD * OF_VALUE; i++) {
      const int j = j0 + i / OF_VALUE * STREAMS + stream, d = COLUMN(i % OF_VALUE);
      v[i] = j < end && d < V ? HOLD(values, slot(j) * V + d, d, V) : (HELD)(0);
    }
    UNROLL for (int i = 0; i < AHEAD * HH; i++) scores[i] = 0.0f;
    UNROLL for (int i = 0; i < AHEAD * OF_KEY; i++) {
      const float8 eight = FLOATS(k[i]);
      UNROLL for (int r = 0; r < HH; r++) {
        const int at = i / OF_KEY * HH + r;
        scores[at] = ADD_DOT(queries[r * OF_KEY + i % OF_KEY], eight, scores[at]);
      }
    }
    UNROLL for (int r = 0; r < HH; r++) {
      ROW_AT(b, g * HEADS + min(set * HH + r, HEADS - 1), token)
      float highest = top[r];
      UNROLL for (int t = 0; t < AHEAD; t++) {
        const int i3 = j0 + t * STREAMS + stream;
        float score = MASKED;
        const float s = sum_of_neighbours(scores[t * HH + r]);
        if (i3 < end) {
          SCORE_LETS score = SCORE;
        }
        scores[t * HH + r] = score;
        highest = fmax(highest, score);
      }
      less[r] = exp(top[r] - highest);
      top[r] = highest;
      total[r] *= less[r];
      UNROLL for (int t = 0; t < AHEAD; t++) { // scores become weights
        const float score = scores[t * HH + r];
        scores[t * HH + r] = score <= MASKED ? 0.0f : exp(score - highest); // NaN stays NaN
        total[r] += scores[t * HH + r];
      }
    }
    UNROLL for (int i = 0; i < AHEAD * OF_VALUE; i++) {
      const float8 eight = FLOATS(v[i]);
      UNROLL for (int r = 0; r < HH; r++) {
        const int at = i % OF_VALUE * HH + r;
        out[at] = scores[i / OF_VALUE * HH + r] * eight + out[at] * (i < OF_VALUE ? less[r] : 1.0f);
      }
    }
  }
  // Streams are joined: what each summed is made relative to the greatest score of all.
  UNROLL for (int r = 0; r < HH; r++) {
    tops[(set * HH + r) * STREAMS + stream] = top[r];
    totals[(set * HH + r) * STREAMS + stream] = total[r];
  }
  BARRIER;
  UNROLL for (int r = 0; r < HH; r++) {
    const int head = set * HH + r;
    float highest = MASKED, sum_of_weights = 0.0f;
    for (int n = 0; n < STREAMS; n++) highest = fmax(highest, tops[head * STREAMS + n]);
    for (int n = 0; n < STREAMS; n++)
      sum_of_weights += totals[head * STREAMS + n] * exp(tops[head * STREAMS + n] - highest);
    UNROLL for (int n = 0; n < OF_VALUE; n++) {
      if (n + r) BARRIER; // all have done with the vectors before
      sums[lane] = out[n * HH + r] * exp(top[r] - highest);
      BARRIER;
      const int d = COLUMN(n);
      if (stream == 0 && head < HEADS) {
        float8 sum = 0.0f;
        for (int m = lane; m < WG; m += CLUSTER * HEAD_SETS) sum += sums[m];
#if SPLITS // as they are, for attention_combine
        __global float *found = splits + ((row + head) * SPLITS + split) * (V + 2);
        PUT_EIGHT(0, sum, found, d, d, V)
        if (d == 0) found[V] = highest;
        if (d == 0) found[V + 1] = sum_of_weights;
#else // zeros where nothing was seen
        sum *= sum_of_weights == 0.0f ? 0.0f : 1.0f / sum_of_weights;
        PUT_EIGHT(Y_HALF, sum, y + (row + head) * V, d, d, V)
#endif
      }
    }
  }
}
