// yj[INTOj] = VALUEj at every coordinate (i0, i1 ...) of part j: several maps in one launch
//                                                                               both classes
//   PARTS          how many, up to 4; outputs y0, y1 ... follow the inputs
//   of part j:
//   TYPEj          type of its output: f32, f16, i32, i64 or u8 (a bool)
//   OUTERj, INNERj rows, and elements of a row
//   COORDINATESj   statements that find i0, i1 ... of the r-th row
//   LASTj          name of the coordinate along a row
//   LETSj          statements before VALUEj, which name what it uses often
//   VALUEj, INTOj  a C expression over elements of inputs and the coordinates; the element of yj
// A work-item computes its share of every part.
#ifndef WORKERS // work-items of the launch; 0: one for each item of the largest part
#define WORKERS 0
#endif
#ifndef PIECE // elements of an item, along the last coordinate
#define PIECE 1
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#ifndef PARTS
#define PARTS 1
#endif
#ifndef VALUE0 // an example of a part
#define TYPE0 f32
#define OUTER0 1
#define INNER0 SEQ
#define COORDINATES0 ;
#define LAST0 i0
#define LETS0 ;
#define VALUE0 A0(i0)
#define INTO0 i0
#endif
#ifndef INPUTS
#define INPUTS 1
#endif
#include "common.clh"
#include "elements.clh"
#define FROM(j) , __global const TYPE(A##j##_TYPE) *p##j
#define TO(j) , __global TYPE(TYPE##j) *y##j
#define PARAMS __global const int *sym EACH(FROM) EACH_OF(PARTS)(TO)
#define FROM_ARG(j) , p##j
#define TO_ARG(j) , y##j
#define ARGS sym EACH(FROM_ARG) EACH_OF(PARTS)(TO_ARG)
#define PIECES(j) CEIL_DIV(INNER##j, PIECE)
#define FIRST(id, j) first_item(id, n, OUTER##j *PIECES(j))
#define MAP(j)                                                                                \
  for (int item = FIRST(id, j); item < FIRST(id + 1, j); item++) {                            \
    const int r = item / PIECES(j), first = item % PIECES(j) * PIECE;                         \
    COORDINATES##j                                                                            \
    for (int LAST##j = first; LAST##j < INNER##j && LAST##j < first + PIECE; LAST##j++) {     \
      LETS##j                                                                                 \
      JOIN(WRITE_, TYPE##j)(VALUE##j, y##j, INTO##j);                                         \
    }                                                                                         \
  }

void maps_body(int id, int n, PARAMS) {
  EACH_OF(PARTS)(MAP)
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void maps(PARAMS) {
  maps_body(get_global_id(0), get_global_size(0), ARGS);
}
