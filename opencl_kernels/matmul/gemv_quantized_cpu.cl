// y_MN = x_MK * W_NK^T for few rows, W in codes of 4 bits (E0M4) or 8       class cpu; any N and K
//
//   Arguments and options: see matmul.clh; the codes: quantized.clh
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
#include "gemv_quantized_cpu.clh"
#include "gemv_quantized_body_cpu.clh"

__kernel SERIAL void gemv_quantized_cpu(PARAMS) {
  gemv_quantized_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
