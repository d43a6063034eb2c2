// y[m, t] = W[e] x[m, t] + bias[e] of chosen experts                   class generic; any N and K
//
//   Arguments, SHARED, BIAS, GLU, EPILOGUE, MIX: see experts.clh; w of any kind
// As gemv: four neighbours hold one k, or one word of codes, with four outputs each. Groups (block,
// row); a row of y, so of a token where its experts are mixed.
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
  const int own = get_group_id(0), row = get_group_id(1), out = own * 16 + lane;
  const bool writes = lane < 16 && out < COLUMNS; // the first 16 work-items
  const size_t at = (size_t)row * LDY + out;
#if MIX // a row is a token
  float total = 0.0f;
  if (writes) total = EXPERT0 ? LOAD(Y_HALF, y, at) : rest_of(sym, EACH(ARG) row, out);
  for (int m = row * CHOICES; m < (row + 1) * CHOICES; m++) {
#else
  for (int m = row; m <= row; m++) {
#endif
    const int e = expert_of(indices, m); // all of the work-group have the same
    if (e < 0) {
      if (writes && IS_NOBODY(e)) STORE(Y_HALF, 0.0f, y, at);
      continue;
    }
    const int block = e * (PADDED_N / 16 / STREAMS) + own;
#include "gemv_sums.clh"
    if (writes) {
#if BIAS
      __global const float *biases = bias + e * N;
#define BIAS_HERE(n) ((n) < N ? biases[n] : 0.0f)
#else
#define BIAS_HERE(n) 0.0f
#endif
#if GLU
      const float gate = part[0][0][lane] + BIAS_HERE(own * 32 + lane);
      const float up = part[STREAMS - 1][0][lane] + BIAS_HERE(own * 32 + 16 + lane);
      STORE(Y_HALF, ENDED(gate, up, row, out), y, at);
#elif MIX
      const float sum = part[0][0][lane] + BIAS_HERE(out);
      total = gate_of(sym, EACH(ARG) row, m - row * CHOICES) * sum + total;
#else
      STORE(Y_HALF, ENDED(part[0][0][lane] + BIAS_HERE(out), 0.0f, row, out), y, at);
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE); // before anyone fills `part` again
  }
#if MIX
  if (writes) STORE(Y_HALF, total, y, at);
#endif
}
