// What the states hold of a text.
#pragma once
#include <cstdint>
#include <vector>

#include "opencl/cl_api.h"
#include "plan/plan.h"

namespace pocket {

// The id at every position that was fed, and how far the states were filled: a ring keeps what lay
// behind a rewind.
struct Held {
  std::vector<cl::Int> ids;
  int64_t reached = 0;

  void feed(const cl::Int *fed, size_t count, int64_t past);
  void reach(int64_t past, int64_t count);

  int64_t length() const;  // positions whose id is known and whose states are filled
  // Whether the states still have what position `past` looks back on: a ring has slots for its
  // window and one chunk, what lies further back is overwritten.
  bool reaches_back(const Plan &plan, int64_t past) const;
};

}  // namespace pocket
