// y_MN = x_MK * W_NK^T for few rows, W in codes of 4 bits (E0M4) or 8       class cpu; any N and K
//
//   Arguments, NORM, BIAS, RESIDUAL, GLU: see matmul.clh; the codes: quantized.clh
//   WORKERS   work-items (grid only); each streams its share of W once and in order
//   PREFETCH  cache lines that the codes are asked for ahead of their use; 0: leave it to the CPU
//   HINT      of that prefetch: 3 to all caches, 2 past the first
// y = sum_g scale_g (UNIT sum_k (c_k - offset_k) x_k - zero_g sum_k x_k), c_k the code of k as it is
// read. Of 4 bits, two codes are in reach of a float's mantissa at a time, ORed with 1 and 16. What a
// group's sum starts from, -sum_k offset_k x_k, is the same for all rows of W; so is sum_k x_k. Inside
// remain mask, OR, multiply-add, and a rotation for every second code. (Three codes at a time, with
// 256 for the third, would save 5 % of the instructions and cost 256 times the squared error.)
// Two blocks of 16 outputs go at once, two accumulators each.
#include "matmul.clh"
#include "gemv_cpu.clh"
#if BITS == 4
#define OFFSETS (float16)(1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16)
#define ADD_WORD(sum, word, v)                                                                \
  UNROLL for (int j = 0; j < 4; j++) {                                                        \
    const uint16 turned = rotate(word, (uint16)(8 * j));                                      \
    sum = as_float16((turned & TOP) | ONE) * (v)[2 * j] + sum;                                \
    sum = as_float16((turned & TOP >> 4) | SIXTEEN) * (v)[2 * j + 1] + sum;                   \
  }
#else
#define OFFSETS (float16)(1)
#define ADD_WORD(sum, word, v)                                                                \
  UNROLL for (int j = 0; j < 4; j++) sum = CODE16(word, j) * (v)[j] + sum;
#endif
#define SIXTEEN 0x41800000u
#if PREFETCH
#define AHEAD(p) PREFETCH_LINE((p) + PREFETCH * 16, HINT)
#define SCALES_AHEAD(at) PREFETCH_LINE(scale + (at) + 32 * GROUPS_AHEAD, HINT)
#define GROUPS_AHEAD CEIL_DIV(PREFETCH, 2 * WORDS)
#else
#define AHEAD(p) ;
#define SCALES_AHEAD(at)
#endif
#if PREFETCH && ZERO
#define ZEROS_AHEAD(at) PREFETCH_LINE(zero + (at) + 32 * GROUPS_AHEAD, HINT)
#else
#define ZEROS_AHEAD(at)
#endif
#if ZERO
#define LESS_ZERO(at) ZERO16(at) * zeros[g] +
#else
#define LESS_ZERO(at)
#endif
#define STEPS (GROUP / 16)               // vectors of x in a group

void gemv_quantized_cpu_body(int id, int n, PARAMS) {
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
        SCALES_AHEAD(s)
        ZEROS_AHEAD(s)
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

__kernel SERIAL void gemv_quantized_cpu(PARAMS) {
  gemv_quantized_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
