// y_MN = x_MK * W_NK^T for few rows, W in codes of 4 bits (E0M4) or 8       class cpu; any N and K
//
//   Arguments, NORM, BIAS, RESIDUAL, GLU: see matmul.cl; the codes: coded.cl
//   GROUPS    work-items (grid only); each streams its share of W once and in order
//   PREFETCH  cache lines that the codes are asked for ahead of their use; 0: leave it to the CPU
//   HINT      of that prefetch: 3 to all caches, 2 past the first
// y = sum_g scale_g (UNIT sum_k (c_k - offset_k) x_k - zero_g sum_k x_k), c_k the code of k as it is
// read: three codes of a word are in reach of a float's mantissa without a rotation, ORed with 1,
// 16 and 256; two rotations serve the other five. What a group's sum starts from, -sum_k offset_k
// x_k, is the same for all rows of W; so is sum_k x_k. Inside remain mask, OR, multiply-add.
// Two blocks of 16 outputs go at once, two accumulators each.
#include "matmul.cl"
#include "gemv_ends.cl"
#define READ(v, shift, one) as_float16(((v) & (TOP >> (shift))) | (one))
#if BITS == 4
#define OFFSETS (float16)(1, 16, 256, 1, 16, 256, 1, 16, 1, 16, 256, 1, 16, 256, 1, 16)
#define ADD_WORD(sum, word, v)                                                                \
  {                                                                                           \
    const uint16 here = word, next = rotate(here, (uint16)(12)), last = here >> 8;            \
    sum = READ(here, 0, 0x3f800000u) * (v)[0] + sum;                                          \
    sum = READ(here, 4, 0x41800000u) * (v)[1] + sum;                                          \
    sum = READ(here, 8, 0x43800000u) * (v)[2] + sum;                                          \
    sum = READ(next, 0, 0x3f800000u) * (v)[3] + sum;                                          \
    sum = READ(next, 4, 0x41800000u) * (v)[4] + sum;                                          \
    sum = READ(next, 8, 0x43800000u) * (v)[5] + sum;                                          \
    sum = READ(last, 0, 0x3f800000u) * (v)[6] + sum;                                          \
    sum = READ(last, 4, 0x41800000u) * (v)[7] + sum;                                          \
  }
#else
#define OFFSETS (float16)(1, 256, 1, 256, 1, 256, 1, 256, 1, 256, 1, 256, 1, 256, 1, 256)
#define ADD_WORD(sum, word, v)                                                                \
  {                                                                                           \
    const uint16 here = word, next = rotate(here, (uint16)(16));                              \
    sum = READ(here, 0, 0x3f800000u) * (v)[0] + sum;                                          \
    sum = READ(here, 8, 0x43800000u) * (v)[1] + sum;                                          \
    sum = READ(next, 0, 0x3f800000u) * (v)[2] + sum;                                          \
    sum = READ(next, 8, 0x43800000u) * (v)[3] + sum;                                          \
  }
#endif
#if PREFETCH
#define AHEAD(p) PREFETCH_LINE((p) + PREFETCH * 16, HINT)
#else
#define AHEAD(p)
#endif
#if ZERO
#define LESS_ZERO(at) ZERO16(at) * zeros[g] +
#else
#define LESS_ZERO(at)
#endif
#define STEPS (GROUP / 16)               // vectors of x in a group

void gemv_coded_cpu_body(int id, int n, PARAMS) {
  float16 row[GROUPS_K * STEPS];
  float starts[GROUPS_K];
#if ZERO
  float zeros[GROUPS_K];
#endif
  for (int m = 0; m < (M); m++) {
    PREPARE(row)
    for (int i = VECTORS; i < GROUPS_K * STEPS; i++) row[i] = 0.0f;
    for (int g = 0; g < GROUPS_K; g++) {
      float16 sum = row[g * STEPS];
      for (int i = 1; i < STEPS; i++) sum += row[g * STEPS + i];
#if ZERO
      zeros[g] = sum16(sum) * (-1.0f / UNIT);
      starts[g] = -sum16(sum * OFFSETS);
#else
      starts[g] = -sum16(sum * (OFFSETS + 0.5f));
#endif
    }
    for (int pair = SPLIT(id, n, PAIRS); pair < SPLIT(id + 1, n, PAIRS); pair++) {
      const float *v = (const float *)row;
      __global const uint *p = w + WORD_AT(pair * 32, 0);
      size_t s = GROUP_AT(pair * 32, 0);
      float16 a = 0.0f, b = 0.0f;
      for (int g = 0; g < GROUPS_K; g++, s += 32) {
        float16 a0 = starts[g], b0 = starts[g], a1 = 0.0f, b1 = 0.0f;
        UNROLL for (int i = 0; i < WORDS; i += 2, p += 64, v += 2 * CODES) {
          UNROLL for (int line = 0; line < 4; line++) AHEAD(p + line * 16)
          ADD_WORD(a0, vload16(0, p), v)
          ADD_WORD(b0, vload16(1, p), v)
          ADD_WORD(a1, vload16(2, p), v + CODES)
          ADD_WORD(b1, vload16(3, p), v + CODES)
        }
        a = LOAD16(SCALE_HALF, scale, s) * (LESS_ZERO(s) (a0 + a1)) + a;
        b = LOAD16(SCALE_HALF, scale, s + 16) * (LESS_ZERO(s + 16) (b0 + b1)) + b;
      }
      FINISH(a * UNIT, b * UNIT)
    }
  }
}

__kernel SERIAL void gemv_coded_cpu(PARAMS) {
  gemv_coded_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
