// y[m, t] = W[e] x[m, t] + bias[e] of chosen experts                   class generic; any N and K
//
//   Arguments, SHARED, BIAS, GLU, EPILOGUE, MIX: see experts.clh; w of any kind
// A work-group makes a strip of 32 outputs, gates and ups at once, as gemv does: strips.clh. Groups
// (strip, row); a row of y, so of a token where its experts are mixed.
#ifndef WG // work-items per strip: a power of two, at least 32
#define WG 128
#endif
#ifndef RUN // words of a group of codes that a slice takes in a row: a power of two; 0: all
#define RUN 0
#endif
#define MB 1 // rows that have the same expert
#include "experts.clh"
#include "strips.clh"
#define OWN (GLU ? 16 : 32) // columns of y that a strip makes
#if SLOTS
#define FIRST_STRIP(e) 0
#define LAST_BLOCK (PADDED_N / 16 - 1)
#else
#define FIRST_STRIP(e) ((e) * (PADDED_N / 32))
#define LAST_BLOCK (EXPERTS * PADDED_N / 16 - 1)
#endif
#define X_AT(r, k) LOAD(X_HALF, own_x, k)
#define XS_AT(r, k) LOADS(X_HALF, own_x, k)

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void experts(EXPERTS_PARAMS) {
  __local float part[MB][SLICES][32];
  const int lane = get_local_id(0), slice = lane / 8, four = lane % 8 * 4;
  const int own = GROUP_ID(0), row = get_group_id(1), out = own * OWN + lane;
  const bool writes = lane < OWN && out < COLUMNS; // the first work-items
  const size_t at = (size_t)row * LDY + out;
#if MIX // a row is a token
  float total = 0.0f;
  if (writes) total = IS_FIRST ? rest_of(sym, EACH(ARG) row, out) : LOAD(Y_HALF, y, at);
  for (int m = row * CHOICES; m < (row + 1) * CHOICES; m++) {
#else
  for (int m = row; m <= row; m++) {
#endif
    const int e = EXPERT_OF(m); // all of the work-group have the same
    if (e < 0) {
      if (writes && IS_NOBODY(e)) STORE(Y_HALF, 0.0f, y, at);
      continue;
    }
    FIND(e)
    const int strip = FIRST_STRIP(e) + own;
    __global const STORAGE(X_HALF) *own_x = x + (size_t)ROW_OF_X(m) * K;
#include "strip_sums.clh"
    barrier(CLK_LOCAL_MEM_FENCE);
    if (writes) {
#if BIAS
      __global const float *biases = bias + e * N;
#define BIAS_HERE(n) ((n) < N ? biases[n] : 0.0f)
#else
#define BIAS_HERE(n) 0.0f
#endif
#if GLU
      const float gate = sum_of_slices(&part[0][0][lane]) + BIAS_HERE(own * 32 + lane);
      const float up = sum_of_slices(&part[0][0][lane + 16]) + BIAS_HERE(own * 32 + 16 + lane);
      STORE(Y_HALF, ENDED(gate, up, row, out), y, at);
#elif MIX
      const float made = sum_of_slices(&part[0][0][lane]) + BIAS_HERE(out);
      total = gate_of(sym, EACH(ARG) row, m - row * CHOICES) * made + total;
#else
      const float made = sum_of_slices(&part[0][0][lane]) + BIAS_HERE(out);
      STORE(Y_HALF, ENDED(made, 0.0f, row, out), y, at);
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE); // before anyone fills `part` again
  }
#if MIX
  if (writes) STORE(Y_HALF, total, y, at);
#endif
}
