// y_MN = x_MK * W_NK^T for few rows: M = 1 in decode                   class generic; any N and K
//
//   Arguments and options: see matmul.clh; w of any kind
// Four neighbours hold one k, or one word of codes, with four outputs each, so that a work-group
// reads W in one piece; the WG/4 partial sums of each output meet in local memory. Groups (block,
// row).
#ifndef WG // work-items per block of 16 outputs: a power of two, at least 16
#define WG 64
#endif
#include "matmul.clh"
#define SLICES (WG / 4)
#define STREAMS (GLU ? 2 : 1) // blocks of W per work-group
#define RAW(k) LOAD(X_HALF, x, (size_t)m * LDX + (k))
#if SUMMED
#define X_AT(k)                                                                               \
  (RAW(k) * (grow * stream_gamma[k]) + LOAD(X_HALF, stream, (size_t)m * K + (k)))
#else
#define X_AT(k) RAW(k)
#endif
#if NORM
#define NORMED(k) ((X_AT(k) - mean) * shrink * gamma[k] + BETA_OF(k))
#else
#define NORMED(k) X_AT(k)
#endif
#define TREE_SUM(part, value)                                                                 \
  part[lane] = value;                                                                         \
  for (int width = WG / 2; width > 0; width /= 2) {                                           \
    barrier(CLK_LOCAL_MEM_FENCE);                                                             \
    if (lane < width) part[lane] += part[lane + width];                                       \
  }                                                                                           \
  barrier(CLK_LOCAL_MEM_FENCE);
#if BITS
#define STEP CODES
#else
#define STEP 1
#endif

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemv(PARAMS) {
  __local float part[STREAMS][SLICES][16];
  const int lane = get_local_id(0), slice = lane / 4, four = lane % 4 * 4;
  const int block = get_group_id(0), m = get_group_id(1);
#if SUMMED || NORM
  __local float sums[WG];
  float own = 0.0f;
#endif
#if SUMMED // the scale of the norm that is added; the groups of the first block store the sum
  for (int k = lane; k < K; k += WG) own += RAW(k) * RAW(k);
  TREE_SUM(sums, own)
  const float grow = rsqrt(sums[0] / K + SUM_EPS);
  barrier(CLK_LOCAL_MEM_FENCE); // before anyone fills `sums` again
  own = 0.0f;
  for (int k = lane; k < K && block == 0; k += WG)
    STORE(X_HALF, X_AT(k), sum, (size_t)m * K + k);
#endif
#if NORM // the norm's mean and scale: tree sums of the row, and of its squares
  float mean = 0.0f;
#if NORM == 2
  for (int k = lane; k < K; k += WG) own += X_AT(k);
  TREE_SUM(sums, own)
  mean = sums[0] / K;
  barrier(CLK_LOCAL_MEM_FENCE); // before anyone fills `sums` again
  own = 0.0f;
#endif
  for (int k = lane; k < K; k += WG) {
    const float v = X_AT(k) - mean;
    own = v * v + own;
  }
  TREE_SUM(sums, own)
  const float shrink = rsqrt(sums[0] / K + EPS);
#endif
#include "gemv_sums.clh"
  const int out = block * 16 + lane; // the first 16 work-items write
  const size_t at = (size_t)m * LDY + Y0 + out;
#if GLU
  if (lane < 16 && out < F) {
    const float gate = part[0][0][lane] + BIAS_OF(block * 32 + lane);
    const float up = part[STREAMS - 1][0][lane] + BIAS_OF(block * 32 + 16 + lane);
    STORE(Y_HALF, ENDED(gate, up, m, Y0 + out), y, at);
  }
#else
  if (lane < 16 && out < N) {
    const float sum = part[0][0][lane] + REST_OF(out, at);
    STORE(Y_HALF, ENDED(sum, 0.0f, m, Y0 + out), y, at);
  }
#endif
}
