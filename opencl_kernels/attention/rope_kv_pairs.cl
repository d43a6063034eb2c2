// Norms and rotary embedding of q and k, and the writing of k and v into their states  class adreno
//
//   Arguments, pairs, NORM: see rope_kv.cl                   and class mali; any K, R even <= K
// An item is a piece of one head of one row: two vectors of four elements, of which those before R
// are four pairs: a' = a cos - b sin, b' = b cos + a sin. Items of a wave lie side by side, so that
// whole lines are read and written. The norm of a head is found anew for each of its pieces: from a
// cache, and without a barrier.
#ifndef WG // work-items per work-group
#define WG 64
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
#define TURNING CEIL_DIV(HALF_R, 4) // pieces of a head whose elements are pairs,
#define STAYING CEIL_DIV(K - R, 8) // and others
#define PIECES (TURNING + STAYING)
#define OF_V CEIL_DIV(K, 8) // where nothing turns
#define MOST (PIECES > OF_V ? PIECES : OF_V)
#define ALIGNED (K % 4 == 0 && HALF_R % 4 == 0)
#if R
#define TABLES __global const float *restrict cos_table, __global const float *restrict sin_table,
#define TABLE_ARGS cos_table, sin_table,
#define COS4(piece) FOUR(0, cos_table + angle, (piece) * 4, HALF_R)
#define SIN4(piece) FOUR(0, sin_table + angle, (piece) * 4, HALF_R)
#else
#define TABLES
#define TABLE_ARGS
#define COS4(piece) 1.0f
#define SIN4(piece) 0.0f
#endif
#if NORM == 2
#define NORMS                                                                                 \
  __global const float *restrict q_gamma, __global const float *restrict k_gamma,             \
      __global const float *restrict q_beta, __global const float *restrict k_beta,
#elif NORM
#define NORMS __global const float *restrict q_gamma, __global const float *restrict k_gamma,
#else
#define NORMS
#endif
#define PARAMS                                                                                \
  __global const int *sym, __global const STORAGE(X_HALF) *restrict qkv, TABLES NORMS         \
      __global STORAGE(KV_HALF) *restrict k_state,                                            \
      __global STORAGE(KV_HALF) *restrict v_state, __global STORAGE(Y_HALF) *restrict q


// Elements `at` to `at` + 3 of p; those from `end` on are zero, and are not written.
#define ONE(h, p, at, end) ((at) < (end) ? LOAD(h, p, at) : 0.0f)
#define FOUR(h, p, at, end)                                                                   \
  (ALIGNED ? ((at) < (end) ? LOAD4(h, p, at) : (float4)(0.0f))                                \
           : (float4)(ONE(h, p, at, end), ONE(h, p, (at) + 1, end), ONE(h, p, (at) + 2, end), \
                      ONE(h, p, (at) + 3, end)))
#define PUT_FOUR(h, v, p, at, end)                                                            \
  if (ALIGNED) {                                                                              \
    if ((at) < (end)) STORE4(h, v, p, at);                                                    \
  } else {                                                                                    \
    if ((at) < (end)) STORE(h, (v).x, p, at);                                                 \
    if ((at) + 1 < (end)) STORE(h, (v).y, p, (at) + 1);                                       \
    if ((at) + 2 < (end)) STORE(h, (v).z, p, (at) + 2);                                       \
    if ((at) + 3 < (end)) STORE(h, (v).w, p, (at) + 3);                                       \
  }

// Of the two vectors of a piece: where each begins, and what it ends before.
int4 ends_of(int piece) {
  const int at = R + (piece - TURNING) * 8;
  if (piece >= TURNING) return (int4)(at, K, at + 4, K);
  if (INTERLEAVED) return (int4)(piece * 8, R, piece * 8 + 4, R);
  return (int4)(piece * 4, HALF_R, piece * 4 + HALF_R, R);
}

// Of the vectors a, b of a piece that turns: the first and the second elements of its pairs; and
// the inverse.
#define FIRSTS(a, b) (INTERLEAVED ? (float4)((a).x, (a).z, (b).x, (b).z) : (a))
#define SECONDS(a, b) (INTERLEAVED ? (float4)((a).y, (a).w, (b).y, (b).w) : (b))
#define LOWER(a, b) (INTERLEAVED ? (float4)((a).x, (b).x, (a).y, (b).y) : (a))
#define UPPER(a, b) (INTERLEAVED ? (float4)((a).z, (b).z, (a).w, (b).w) : (b))

float sum4(float4 v) {
  return (v.x + v.y) + (v.z + v.w);
}

// What the norm of a head takes off its elements, and what it multiplies them by. Turning a pair
// stretches it by the length of its (cos, sin).
float2 statistics(__global const STORAGE(X_HALF) *x, TABLES int angle) {
  const int4 next = (int4)(0, 1, 2, 3);
  float mean = 0.0f, squares = 0.0f;
  for (int piece = 0; NORM == 2 && piece < PIECES; piece++) {
    const int4 at = ends_of(piece);
    mean += sum4(FOUR(X_HALF, x, at.x, at.y) + FOUR(X_HALF, x, at.z, at.w)) / K;
  }
  for (int piece = 0; piece < PIECES; piece++) {
    const int4 at = ends_of(piece);
    float4 u = FOUR(X_HALF, x, at.x, at.y), v = FOUR(X_HALF, x, at.z, at.w);
    if (NORM == 2) { // where a piece has no element there is no distance from the mean
      u = select((float4)(0.0f), u - mean, next + at.x < (int4)(at.y));
      v = select((float4)(0.0f), v - mean, next + at.z < (int4)(at.w));
    }
    float4 square = u * u + v * v;
    if (NORM == 3 && piece < TURNING) {
      const float4 a = FIRSTS(u, v), b = SECONDS(u, v), c = COS4(piece), s = SIN4(piece);
      square = (a * a + b * b) * (c * c + s * s);
    }
    squares += sum4(square);
  }
  return (float2)(mean, rsqrt(squares / K + EPS));
}

#define SCALED(v, at, end) ((v) * unit * FOUR(0, gamma, at, end))
#define NORMED(v, at, end)                                                                    \
  (NORM == 1   ? SCALED(v, at, end)                                                           \
   : NORM == 2 ? SCALED((v) - mean, at, end) + FOUR(0, beta, at, end)                         \
               : (v))

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void rope_kv_pairs(PARAMS) {
  const int heads = H + 2 * G, seq = SEQ, item = get_global_id(0);
  const int row = item / MOST, piece = item % MOST, m = row / heads, head = row % heads;
  if (m >= M || piece >= (head < H + G ? PIECES : OF_V)) return;
  const int b = m / seq, j_new = PAST + m % seq;
  __global const STORAGE(X_HALF) *x = qkv + (size_t)row * K;
  const int4 at = head < H + G ? ends_of(piece) : (int4)(piece * 8, K, piece * 8 + 4, K);
  float4 u = FOUR(X_HALF, x, at.x, at.y), v = FOUR(X_HALF, x, at.z, at.w);
  if (head >= H + G) { // of v, which stays as it is
    __global STORAGE(KV_HALF) *to = v_state + head_at(b, head - H - G, K) + (size_t)slot(j_new) * K;
    PUT_FOUR(KV_HALF, u, to, at.x, at.y)
    PUT_FOUR(KV_HALF, v, to, at.z, at.w)
    return;
  }
  const int angle = max(0, j_new - START(b)) * HALF_R;
#if NORM
  __global const float *gamma = head < H ? q_gamma : k_gamma;
#if NORM == 2
  __global const float *beta = head < H ? q_beta : k_beta;
#else
  __global const float *beta = gamma; // not read
#endif
  const float2 found = statistics(x, TABLE_ARGS angle);
  const float mean = found.x, unit = found.y;
  u = NORMED(u, at.x, at.y);
  v = NORMED(v, at.z, at.w);
#endif
  if (piece < TURNING) {
    const float4 a = FIRSTS(u, v), b = SECONDS(u, v), c = COS4(piece), s = SIN4(piece);
    const float4 turned_a = a * c - b * s, turned_b = b * c + a * s;
    u = LOWER(turned_a, turned_b);
    v = UPPER(turned_a, turned_b);
  }
#if NORM == 3
  u = SCALED(u, at.x, at.y);
  v = SCALED(v, at.z, at.w);
#endif
  if (head < H) {
    __global STORAGE(Y_HALF) *to = q + ((size_t)m * H + head) * K;
    PUT_FOUR(Y_HALF, u, to, at.x, at.y)
    PUT_FOUR(Y_HALF, v, to, at.z, at.w)
  } else {
    __global STORAGE(KV_HALF) *to = k_state + head_at(b, head - H, K) + (size_t)slot(j_new) * K;
    PUT_FOUR(KV_HALF, u, to, at.x, at.y)
    PUT_FOUR(KV_HALF, v, to, at.z, at.w)
  }
}
