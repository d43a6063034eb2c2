// y[m, t] = W[e] x[m, t] + bias[e] of chosen experts                   class generic; any N and K
//
//   Arguments, SHARED, BIAS, GLU: see experts.clh; w of any kind
// As gemv: four neighbours hold one k, or one word of codes, with four outputs each. Groups (block,
// row).
#ifndef WG // work-items per block of 16 outputs: a power of two, at least 16
#define WG 64
#endif
#include "experts.clh"
#define SLICES (WG / 4)
#define STREAMS (GLU ? 2 : 1) // blocks of W per work-group
#define NORMED(k) LOAD(X_HALF, x, (size_t)ROW_OF_X(m) * K + (k))
#if BITS
#define STEP CODES
#else
#define STEP 1
#endif

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void experts(EXPERTS_PARAMS) {
  __local float part[STREAMS][SLICES][16];
  const int lane = get_local_id(0), slice = lane / 4, four = lane % 4 * 4;
  const int own = get_group_id(0), m = get_group_id(1), e = expert_of(indices, m);
  const int out = own * 16 + lane;
  const size_t at = (size_t)m * LDY + out;
  if (e < 0) { // all of the work-group
    if (e == NONE && lane < 16 && out < COLUMNS) STORE(Y_HALF, 0.0f, y, at);
    return;
  }
  const int block = e * (PADDED_N / 16 / STREAMS) + own;
#include "gemv_sums.clh"
  if (lane >= 16 || out >= COLUMNS) return; // the first 16 work-items write
#if BIAS
  bias += e * N;
#endif
#if GLU
  const float gate = part[0][0][lane] + BIAS_OF(own * 32 + lane);
  const float up = part[STREAMS - 1][0][lane] + BIAS_OF(own * 32 + 16 + lane);
  STORE(Y_HALF, ACTIVATE(gate) * up, y, at);
#else
  STORE(Y_HALF, part[0][0][lane] + BIAS_OF(out), y, at);
#endif
}
