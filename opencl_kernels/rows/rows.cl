// y = VALUE at every element of a row, by two statistics of the row             class generic
//
//   X, FIRST, SECOND, VALUE …: see rows_cpu.cl
// A work-group is a row.
#ifndef WG // work-items per row, a power of two
#define WG 64
#endif
#include "rows.clh"

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void rows(ELEMENTS) {
  __local float part[WG];
  const int lane = get_local_id(0), r = get_group_id(0), inner = INNER;
  COORDINATES
  // Each work-item takes every WG-th element,
  float own = START_OF(FIRST);
  for (int LAST = lane; LAST < inner; LAST += WG) {
    X_LETS const float x = X;
    own = FIRST(own, FIRST_OF);
  }
  // the work-group joins the results as a tree,
  part[lane] = own;
  for (int width = WG / 2; width > 0; width /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < width) part[lane] = FIRST(part[lane], part[lane + width]);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const float m = part[0];
  barrier(CLK_LOCAL_MEM_FENCE); // before anyone fills `part` again
  own = START_OF(SECOND);
  for (int LAST = lane; LAST < inner; LAST += WG) {
    X_LETS const float x = X;
    own = SECOND(own, SECOND_OF);
  }
  part[lane] = own;
  for (int width = WG / 2; width > 0; width /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < width) part[lane] = SECOND(part[lane], part[lane + width]);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const float s = part[0];
  // and the row is read once more.
  for (int LAST = lane; LAST < inner; LAST += WG) {
    X_LETS const float x = X;
    LETS WRITE(VALUE, r * inner + LAST);
  }
}
