// Norms and rotary embedding of q and k, and the writing of k and v into their states, in one pass
//
//   qkv X[M, (H+2G)*K]: the heads of q, k, v side by side; q Y[M, H, K]; states: see states.clh
//   cos, sin f32[CTX, R/2] (absent where R = 0)
//   row m is token i = m % SEQ of batch row b = m / SEQ          both classes; any K, R even <= K
//   its rotary position is max(0, PAST + i - START(b)), its key's slot that of key PAST + i
//   a' = a cos - b sin, b' = b cos + a sin of the pairs (a, b):
//   INTERLEAVED 0: (j, j + R/2)   1: (2j, 2j + 1)           with j < R/2; the rest passes through
//   NORM of every head of q and of k, by gammas f32[K] (and betas, for 2):
//     0: none   1: RMSNorm   2: LayerNorm, before the rotation   3: RMSNorm after it
//     4: RMSNorm of all heads of q, and of all of k, before the rotation; gammas f32[H*K], f32[G*K]
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
#ifndef NORM
#define NORM 0
#endif
#ifndef EPS
#define EPS 1e-5f
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
#if NORM == 2
#define NORMS                                                                                 \
  __global const float *q_gamma, __global const float *k_gamma, __global const float *q_beta, \
      __global const float *k_beta,
#define NORM_ARGS q_gamma, k_gamma, q_beta, k_beta,
#elif NORM
#define NORMS __global const float *q_gamma, __global const float *k_gamma,
#define NORM_ARGS q_gamma, k_gamma,
#else
#define NORMS
#define NORM_ARGS
#endif
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *qkv, TABLES NORMS                  \
      __global STORAGE(KV_HALF) *k_state, __global STORAGE(KV_HALF) *v_state,                 \
      __global STORAGE(Y_HALF) *q
#if INTERLEAVED
#define FIRST(j) (2 * (j))
#define SECOND(j) (2 * (j) + 1)
#else
#define FIRST(j) (j)
#define SECOND(j) ((j) + HALF_R)
#endif

#define RAW(j) LOAD(X_HALF, x, j)
// An element before the rotation, and what becomes of a value after it
#if NORM == 1 || NORM == 4
#define IN(j) (RAW(j) * unit * gamma[j])
#elif NORM == 2
#define IN(j) ((RAW(j) - mean) * unit * gamma[j] + beta[j])
#else
#define IN(j) RAW(j)
#endif
#if NORM == 3
#define OUT(value, j) ((value) * unit * gamma[j])
#else
#define OUT(value, j) (value)
#endif

// One head from `x` to `out`, rotated up to R. A macro, since q and the states differ in type.
#define ROTATE(h, out, to)                                                                    \
  for (int j = 0; j < HALF_R; j++) {                                                          \
    const float a = IN(FIRST(j)), b = IN(SECOND(j));                                          \
    const float c = COS(j), s = SIN(j);                                                       \
    STORE(h, OUT(a * c - b * s, FIRST(j)), out, (to) + FIRST(j));                             \
    STORE(h, OUT(b * c + a * s, SECOND(j)), out, (to) + SECOND(j));                           \
  }                                                                                           \
  for (int j = R; j < K; j++) STORE(h, OUT(IN(j), j), out, (to) + j);
#if R
#define COS(j) cos_table[angle + (j)]
#define SIN(j) sin_table[angle + (j)]
#else
#define COS(j) 1.0f
#define SIN(j) 0.0f
#endif

#if NORM == 4
// What the norm of `count` heads multiplies their elements by. The work-item of each head sums over
// all of them, which is cheaper than a launch.
float unit_of(__global const STORAGE(X_HALF) *x, int count) {
  float16 squares = 0.0f;
  for (int j = 0; j < count * K; j += 16) {
    const float16 v = LOAD_SOME(X_HALF, x, j, count * K - j);
    squares = v * v + squares;
  }
  return rsqrt(sum16(squares) / (count * K) + EPS);
}
#define NORMED_HEAD(which, own, count)                                                        \
  __global const float *gamma = which##_gamma + (own) * K;                                    \
  const float unit = unit_of(x - (own) * K, count);
#elif NORM
// What the norm of a head takes off its elements, and what it multiplies them by. Rotating a pair
// stretches it by the length of its (cos, sin).
float2 statistics(__global const STORAGE(X_HALF) *x, TABLES size_t angle) {
  float mean = 0.0f, squares = 0.0f;
#if NORM == 2
  for (int j = 0; j < K; j++) mean += RAW(j);
  mean /= K;
#endif
#if NORM == 3
  for (int j = 0; j < HALF_R; j++) {
    const float a = RAW(FIRST(j)), b = RAW(SECOND(j)), c = COS(j), s = SIN(j);
    squares += (a * a + b * b) * (c * c + s * s);
  }
#endif
  for (int j = NORM == 3 ? R : 0; j < K; j++) squares += (RAW(j) - mean) * (RAW(j) - mean);
  return (float2)(mean, rsqrt(squares / K + EPS));
}
#define NORMED(which)                                                                         \
  __global const float *gamma = which##_gamma;                                                \
  const float2 found = statistics(x, TABLE_ARGS angle);                                       \
  const float unit = found.y;
#if NORM == 2
#define NORMED_HEAD(which, own, count)                                                        \
  NORMED(which)                                                                               \
  __global const float *beta = which##_beta;                                                  \
  const float mean = found.x;
#else
#define NORMED_HEAD(which, own, count) NORMED(which)
#endif
#else
#define NORMED_HEAD(which, own, count)
#endif

void rope_kv_body(int id, int n, PARAMS) {
  const int heads = H + 2 * G, seq = SEQ, past = PAST, items = (M) * heads;
  for (int item = first_item(id, n, items); item < first_item(id + 1, n, items); item++) {
    const int m = item / heads, head = item % heads, b = m / seq, j_new = past + m % seq;
    __global const STORAGE(X_HALF) *x = qkv + (size_t)item * K;
    const size_t angle = (size_t)max(0, j_new - START(b)) * HALF_R;
    if (head < H) { // of q
      NORMED_HEAD(q, head, H)
      const size_t to = ((size_t)m * H + head) * K;
      ROTATE(Y_HALF, q, to)
    } else if (head < H + G) { // of k
      NORMED_HEAD(k, head - H, G)
      const size_t to = head_at(b, head - H, K) + (size_t)slot(j_new) * K;
      ROTATE(KV_HALF, k_state, to)
    } else { // of v, which stays as it is
      const size_t to = head_at(b, head - H - G, K) + (size_t)slot(j_new) * K;
      for (int j = 0; j < K; j++) STORE(KV_HALF, RAW(j), v_state, to + j);
    }
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void rope_kv(PARAMS) {
  rope_kv_body(get_global_id(0), get_global_size(0), sym, qkv, TABLE_ARGS NORM_ARGS k_state, v_state,
               q);
}
