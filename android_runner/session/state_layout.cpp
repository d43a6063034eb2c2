#include "session/state_layout.h"

#include <algorithm>

namespace pocket {
namespace {

SavedRows rows_of(const Plan &plan, const State &state, int64_t past) {
  const Buffer &buffer = plan.buffers[state.buffer];
  const bool by_token = state.update == "append" && state.axis;
  int64_t blocks = 1, width = dtype_size(buffer.dtype);
  for (size_t i = 0; i < buffer.shape.size(); ++i) {
    const int64_t size = evaluate(buffer.shape[i], {}).value_or(0);
    if (by_token && i < *state.axis) blocks *= size;
    else if (!by_token || i > *state.axis) width *= size;
  }
  if (!by_token) return {state.buffer, buffer.name, 1, width, width};
  const int64_t used = std::min(past, state.capacity) * width;
  return {state.buffer, buffer.name, blocks, state.capacity * width, used};
}

}  // namespace

std::vector<SavedRows> saved_rows(const Plan &plan, int64_t past) {
  std::vector<SavedRows> all;
  for (const State &state : plan.states) all.push_back(rows_of(plan, state, past));
  return all;
}

}  // namespace pocket
