// Rotary embedding of q and k, and the writing of k and v into their states, in one pass
//
//   qkv X[M, (H+2G)*K]: the heads of q, k, v side by side; q Y[M, H, K]; states: see states.clh
//   cos, sin f32[CTX, R/2] (absent where R = 0)
//   row m is token i = m % SEQ of batch row b = m / SEQ          both classes; any K, R even <= K
//   its rotary position is max(0, PAST + i - START(b)), its key's slot that of key PAST + i
//   a' = a cos - b sin, b' = b cos + a sin of the pairs (a, b):
//   INTERLEAVED 0: (j, j + R/2)   1: (2j, 2j + 1)           with j < R/2; the rest passes through
// An item is one head of one row.
#ifndef WORKERS // work-items of the launch; 0: one for each item
#define WORKERS 0
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#ifndef R
#define R 64
#endif
#ifndef INTERLEAVED
#define INTERLEAVED 0
#endif
#include "states.clh"
#define HALF_R (R / 2)
#if R
#define TABLES __global const float *cos_table, __global const float *sin_table,
#define TABLE_ARGS cos_table, sin_table,
#else
#define TABLES
#define TABLE_ARGS
#endif
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *qkv, TABLES                        \
      __global STORAGE(KV_HALF) *k_state, __global STORAGE(KV_HALF) *v_state,                 \
      __global STORAGE(Y_HALF) *q
#if INTERLEAVED
#define FIRST(j) (2 * (j))
#define SECOND(j) (2 * (j) + 1)
#else
#define FIRST(j) (j)
#define SECOND(j) ((j) + HALF_R)
#endif

// One head from `x` to `out`, rotated up to R. A macro, since q and the states differ in type.
#define ROTATE(h, out, to)                                                                    \
  for (int j = 0; j < HALF_R; j++) {                                                          \
    const float a = LOAD(X_HALF, x, FIRST(j)), b = LOAD(X_HALF, x, SECOND(j));                \
    const float c = COS(j), s = SIN(j);                                                       \
    STORE(h, a * c - b * s, out, (to) + FIRST(j));                                            \
    STORE(h, b * c + a * s, out, (to) + SECOND(j));                                           \
  }                                                                                           \
  COPY(h, out, to, R)
#define COPY(h, out, to, start)                                                               \
  for (int j = start; j < K; j++) STORE(h, LOAD(X_HALF, x, j), out, (to) + j);
#if R
#define COS(j) cos_table[angle + (j)]
#define SIN(j) sin_table[angle + (j)]
#else
#define COS(j) 1.0f
#define SIN(j) 0.0f
#endif

void rope_kv_body(int id, int n, PARAMS) {
  const int heads = H + 2 * G, seq = SEQ, past = PAST, items = (M) * heads;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int m = item / heads, head = item % heads, b = m / seq, j_new = past + m % seq;
    __global const STORAGE(X_HALF) *x = qkv + (size_t)item * K;
    const size_t angle = (size_t)max(0, j_new - START(b)) * HALF_R;
    if (head < H) { // of q
      const size_t to = ((size_t)m * H + head) * K;
      ROTATE(Y_HALF, q, to)
    } else if (head < H + G) { // of k
      const size_t to = head_at(b, head - H, K) + (size_t)slot(j_new) * K;
      ROTATE(KV_HALF, k_state, to)
    } else { // of v, which is not rotated
      const size_t to = head_at(b, head - H - G, K) + (size_t)slot(j_new) * K;
      COPY(KV_HALF, v_state, to, 0)
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void rope_kv(PARAMS) {
  rope_kv_body(get_global_id(0), get_global_size(0), sym, qkv, TABLE_ARGS k_state, v_state, q);
}
