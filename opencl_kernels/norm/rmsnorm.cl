// y_MD = x * rsqrt(mean_D(x^2) + EPS) * gamma_D,  x = x_[.,D]  or, with ADD, sum = x + r
//
//   Arguments, ADD, RESIDUAL, ROW: see norm.clh                 class generic; any D
// A work-group is a row.
#ifndef WG // work-items per row, a power of two
#define WG 64
#endif
#include "norm.clh"
#if ADD
#define INPUT(load, d) (load(X_HALF, x, in + (d)) + load(X_HALF, r, in + (d)))
#else
#define INPUT(load, d) load(X_HALF, x, in + (d))
#endif
#if RESIDUAL
#define REST(load, d) load(X_HALF, r, out + (d))
#else
#define REST(load, d) 0.0f
#endif
#define FOUR (D / 4 * 4) // columns that go by fours; the rest go one by one

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void NAMED(rmsnorm)(PARAMS) {
  __local float part[WG];
  const int lane = get_local_id(0), m = get_group_id(0);
  const size_t in = (size_t)(ROW(m)) * D, out = (size_t)m * D;
  // Each work-item sums the squares of every WG-th four columns,
  float4 squares = 0.0f;
  for (int d = lane * 4; d < FOUR; d += WG * 4) {
    const float4 v = INPUT(LOAD4, d);
    squares = v * v + squares;
  }
  part[lane] = (squares.x + squares.y) + (squares.z + squares.w);
  for (int d = FOUR + lane; d < D; d += WG) {
    const float v = INPUT(LOAD, d);
    part[lane] += v * v;
  }
  // the work-group adds these up as a tree,
  for (int width = WG / 2; width > 0; width /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < width) part[lane] += part[lane + width];
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const float scale = rsqrt(part[0] / D + EPS);
  // and the row, read once more, is scaled.
  for (int d = lane * 4; d < FOUR; d += WG * 4) {
    const float4 v = INPUT(LOAD4, d);
#if ADD
    STORE4(X_HALF, v, sum, out + d);
#endif
    STORE4(Y_HALF, v * scale * vload4(0, gamma + d) + REST(LOAD4, d), y, out + d);
  }
  for (int d = FOUR + lane; d < D; d += WG) {
    const float v = INPUT(LOAD, d);
#if ADD
    STORE(X_HALF, v, sum, out + d);
#endif
    STORE(Y_HALF, v * scale * gamma[d] + REST(LOAD, d), y, out + d);
  }
}
