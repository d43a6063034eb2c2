#include "session/history.h"

#include <algorithm>

namespace pocket {

History::History(const Plan &plan)
    : ring_(plan.model.max_context), chunk_(plan.model.prefill_chunk) {
  for (const State &state : plan.states)
    if (state.update == "append") ring_ = std::min(ring_, state.capacity);
}

int64_t History::length() const { return std::min(static_cast<int64_t>(ids_.size()), reached_); }

bool History::holds(int64_t past) const {
  return past == 0 || reached_ <= ring_ || reached_ - past <= chunk_;
}

void History::feed(const cl::Int *ids, size_t count, int64_t past) {
  ids_.resize(past);
  ids_.insert(ids_.end(), ids, ids + count);
  reach(past, static_cast<int64_t>(count));
}

// A text that starts anew forgets the old one.
void History::reach(int64_t past, int64_t count) {
  reached_ = past == 0 ? count : std::max(reached_, past + count);
}

void History::fail(int64_t past, int64_t count) {
  ids_.resize(std::min(ids_.size(), static_cast<size_t>(past)));
  reach(past, count);
}

void History::restore(std::vector<cl::Int> ids, int64_t reached) {
  ids_ = std::move(ids);
  reached_ = reached;
}

}  // namespace pocket
