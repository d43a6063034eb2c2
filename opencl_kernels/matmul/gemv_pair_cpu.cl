// Two products y_MN = x_MK * W_NK^T of few rows in one launch              class cpu; any N and K
//
//   Arguments and options: see pair.clh; w of float or half, layout n16
// A work-item computes its share of each product as gemv_cpu does.
#ifndef WORKERS // work-items of the launch; each streams its range of each W once and in order
#define WORKERS 8
#endif
#ifndef PREFETCH // cache lines that W is asked for ahead of its use; 0: leave it to the CPU
#define PREFETCH 32
#endif
#include "pair_cpu.clh"
#include "gemv_prefetch_cpu.clh"
#include "gemv_cpu.clh"
#include "gemv_body_cpu.clh"
#undef PART
#define PART 1
#include "gemv_cpu.clh"
#include "gemv_body_cpu.clh"

void gemv_pair_cpu_body(int id, int n, PAIR_PARAMS) {
  gemv_cpu_body_0(id, n, sym BUFFERS(ARG_0));
  gemv_cpu_body_1(id, n, sym BUFFERS(ARG_1));
}

__kernel SERIAL void gemv_pair_cpu(PAIR_PARAMS) {
  gemv_pair_cpu_body(get_global_id(0), get_global_size(0), PAIR_ARGS);
}
