// y_i = EXPR(a0 .. a7),  aj = input j at IDXj(i),  i < COUNT                    both classes
//
//   EXPR    a C expression over the floats a0, a1 ... and the index i
//   COUNT   elements of y: a C expression, so that it can depend on symbols
//   IDXj(i) element of input j that meets element i of y: how inputs broadcast
//   INPUTS  their number, 0 .. 8; Aj_HALF says how they are stored
#ifndef WORKERS // work-items of the launch; 0: one for each element
#define WORKERS 0
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#ifndef EXPR
#define EXPR (a0 + a1)
#endif
#ifndef COUNT
#define COUNT SEQ
#endif
#ifndef INPUTS
#define INPUTS 2
#endif
#ifndef A0_HALF
#define A0_HALF 0
#endif
#ifndef A1_HALF
#define A1_HALF 0
#endif
#ifndef IDX0
#define IDX0(i) (i)
#endif
#ifndef IDX1
#define IDX1(i) (i)
#endif
#include "common.clh"
// EACH(f): f(0) f(1) ..., once for each input
#define EACH_0(f)
#define EACH_1(f) f(0)
#define EACH_2(f) EACH_1(f) f(1)
#define EACH_3(f) EACH_2(f) f(2)
#define EACH_4(f) EACH_3(f) f(3)
#define EACH_5(f) EACH_4(f) f(4)
#define EACH_6(f) EACH_5(f) f(5)
#define EACH_7(f) EACH_6(f) f(6)
#define EACH_8(f) EACH_7(f) f(7)
#define EACH_OF_(count) EACH_##count // not JOIN: f uses that inside
#define EACH_OF(count) EACH_OF_(count)
#define EACH(f) EACH_OF(INPUTS)(f)
#define PARAM(j) __global const STORAGE(A##j##_HALF) *p##j,
#define ARG(j) p##j,
#define VALUE(j) const float a##j = LOAD(A##j##_HALF, p##j, IDX##j(i));
#define PARAMS __global const int *sym, EACH(PARAM) __global STORAGE(Y_HALF) *y

// What is not a number stays so: fmax and fmin would drop it.
float larger(float a, float b) { return a > b || a != a ? a : b; }
float smaller(float a, float b) { return a < b || a != a ? a : b; }

void elementwise_body(int id, int n, PARAMS) {
  const int count = COUNT;
  for (int i = first_item(id, n, count); i < first_item(id + 1, n, count); i++) {
    EACH(VALUE) // a0, a1 ...: the inputs' elements that belong to i
    STORE(Y_HALF, EXPR, y, i);
  }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void elementwise(PARAMS) {
  elementwise_body(get_global_id(0), get_global_size(0), sym, EACH(ARG) y);
}
