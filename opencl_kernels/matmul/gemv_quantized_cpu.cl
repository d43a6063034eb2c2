// y_MN = x_MK * W_NK^T for few rows, W in codes of 4 bits (E0M4) or 8       class cpu; any N and K
//
//   Arguments, NORM, BIAS, RESIDUAL, GLU: see matmul.clh; the codes: quantized.clh
// y = sum_g scale_g (UNIT sum_k (c_k - offset_k) x_k - zero_g sum_k x_k), c_k the code of k as it
// is read. Of 4 bits, two codes are in reach of a float's mantissa at a time, ORed with 1 and 16.
// What a group's sum starts from, -sum_k offset_k x_k, is the same for all rows of W; so is sum_k
// x_k. Inside remain mask, OR, multiply-add, and a rotation for every second code. (Three codes at
// a time, with 256 for the third, would save 5 % of the instructions and cost 256 times the
// squared error.)
// Two blocks of 16 outputs go at once, two accumulators each.
#ifndef WORKERS // work-items of the launch; each streams its range of W once and in order
#define WORKERS 8
#endif
#ifndef PREFETCH // cache lines that codes are asked for ahead of their use; 0: leave it to the CPU
#define PREFETCH 64
#endif
#ifndef HINT // of that prefetch: 3 to all caches, 2 past the first
#define HINT 3
#endif
#ifndef BITS
#define BITS 4
#endif
#include "matmul.clh"
#include "gemv_cpu.clh"
#define STEPS (GROUP / 16) // vectors of x in a group
#define SIXTEEN 0x41800000u
#define GROUPS_AHEAD CEIL_DIV(PREFETCH, 2 * WORDS)
#if BITS == 4
#define OFFSETS (float16)(1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16)
#else
#define OFFSETS (float16)(1)
#endif
// A group's sum less what its zero point takes off. A macro: so product and sum are rounded once.
#if ZERO
#define GROUP_SUM(at, sum) (ZERO16(at) * zeros[g] + (sum))
#else
#define GROUP_SUM(at, sum) (sum)
#endif

// sum + the products of a word's codes, offsets and all, with CODES values of x
float16 add_word(float16 sum, uint16 word, const float *v) {
#if BITS == 4
  UNROLL for (int j = 0; j < 4; j++) {
    const uint16 rotated = rotate(word, (uint16)(8 * j));
    sum = as_float16((rotated & TOP) | ONE) * v[2 * j] + sum;
    sum = as_float16((rotated & TOP >> 4) | SIXTEEN) * v[2 * j + 1] + sum;
  }
#else
  UNROLL for (int j = 0; j < 4; j++) sum = CODE16(word, j) * v[j] + sum;
#endif
  return sum;
}

// What all rows of W share: starts[GROUPS_K], zeros[GROUPS_K], from row[GROUPS_K * STEPS].
void sum_groups(const float16 *row, float *starts, float *zeros) {
  for (int g = 0; g < GROUPS_K; g++) {
    float16 sum = row[g * STEPS];
    for (int i = 1; i < STEPS; i++) sum += row[g * STEPS + i];
#if ZERO
    zeros[g] = sum16(sum) * (-1.0f / UNIT);
    starts[g] = -sum16(sum * OFFSETS);
#else
    starts[g] = -sum16(sum * (OFFSETS + 0.5f)); // the zero is in the middle, half a unit up
#endif
  }
}

void gemv_quantized_cpu_body(int id, int n, PARAMS) {
  float16 row[GROUPS_K * STEPS];
  float starts[GROUPS_K], zeros[GROUPS_K];
  for (int m = 0; m < (M); m++) {
    prepare(x, GAMMA_ARG m, row);
    for (int i = VECTORS; i < GROUPS_K * STEPS; i++) row[i] = 0.0f; // the last group is filled up
    sum_groups(row, starts, zeros);
    for (int pair = first_item(id, n, PAIRS); pair < first_item(id + 1, n, PAIRS); pair++) {
      const float *v = (const float *)row; // x, an element at a time
      __global const uint *p = w + word_at(pair * 32, 0);
      size_t s = group_at(pair * 32, 0);
      float16 a = 0.0f, b = 0.0f;
      for (int g = 0; g < GROUPS_K; g++, s += 32) {
        float16 a0 = starts[g], b0 = starts[g], a1 = 0.0f, b1 = 0.0f;
        // Scales and zero points are read once per group, codes a cache line at a time.
        if (PREFETCH) PREFETCH_LINE(scale + s + 32 * GROUPS_AHEAD, HINT);
#if ZERO
        if (PREFETCH) PREFETCH_LINE(zero + s + 32 * GROUPS_AHEAD, HINT);
#endif
        UNROLL for (int i = 0; i < WORDS; i += 2, p += 64, v += 2 * CODES) {
          UNROLL for (int line = 0; line < (PREFETCH ? 4 : 0); line++)
            PREFETCH_LINE(p + line * 16 + PREFETCH * 16, HINT);
          a0 = add_word(a0, vload16(0, p), v);
          b0 = add_word(b0, vload16(1, p), v);
          a1 = add_word(a1, vload16(2, p), v + CODES);
          b1 = add_word(b1, vload16(3, p), v + CODES);
        }
        a = LOAD16(SCALE_HALF, scale, s) * GROUP_SUM(s, a0 + a1) + a;
        b = LOAD16(SCALE_HALF, scale, s + 16) * GROUP_SUM(s + 16, b0 + b1) + b;
      }
      finish(a * UNIT, b * UNIT, pair, m, BIAS_ARG RESIDUAL_ARG y);
    }
  }
}

__kernel SERIAL void gemv_quantized_cpu(PARAMS) {
  gemv_quantized_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
