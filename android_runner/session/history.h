// Which ids the states of a plan hold, and how far back they can be rewound. The Python executors
// have the same (toolkit/executors/history.py); one table of moves is held against both.
#pragma once
#include <cstdint>
#include <vector>

#include "opencl/cl_api.h"
#include "plan/plan.h"

namespace pocket {

class History {
 public:
  explicit History(const Plan &plan);

  const std::vector<cl::Int> &ids() const { return ids_; }  // at every position that was fed
  int64_t reached() const { return reached_; }  // how far the states were filled, rewound or not
  int64_t length() const;  // positions whose id is known and whose states are filled
  // Whether the states still have what position `past` looks back on: a ring has slots for its
  // window and one chunk, what lies further back is overwritten.
  bool holds(int64_t past) const;

  void feed(const cl::Int *ids, size_t count, int64_t past);
  void reach(int64_t past, int64_t count);  // steps under way, whose ids come later
  void fail(int64_t past, int64_t count);  // states from there on hold nobody knows what
  void append(cl::Int id) { ids_.push_back(id); }
  void restore(std::vector<cl::Int> ids, int64_t reached);

 private:
  int64_t ring_, chunk_;  // positions: of the smallest ring, of a chunk of prefill
  std::vector<cl::Int> ids_;
  int64_t reached_ = 0;
};

}  // namespace pocket
