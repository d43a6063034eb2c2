// y_MN = x_MK * W_NK^T for few rows: M = 1 in decode                       class cpu; any N and K
//
//   Arguments and options: see matmul.clh; w of float or half, layout n16
// Two blocks of 16 outputs go at once, two accumulators each: two streams, four chains of FMAs.
// With GLU the two blocks are gate and up of the same 16 outputs.
#ifndef WORKERS // work-items of the launch; each streams its range of W once and in order
#define WORKERS 8
#endif
#ifndef PREFETCH // cache lines that W is asked for ahead of its use; 0: leave it to the CPU
#define PREFETCH 32
#endif
#include "matmul.clh"
#include "gemv_cpu.clh"
#include "gemv_prefetch_cpu.clh"
#include "gemv_body_cpu.clh"

__kernel SERIAL void gemv_cpu(PARAMS) {
  gemv_cpu_body(get_global_id(0), get_global_size(0), ARGS);
}
