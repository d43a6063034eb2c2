#include "session/history.h"

#include <algorithm>

namespace pocket {

void Held::feed(const cl::Int *fed, size_t count, int64_t past) {
  ids.resize(past);
  ids.insert(ids.end(), fed, fed + count);
  reach(past, static_cast<int64_t>(count));
}

void Held::reach(int64_t past, int64_t count) {
  reached = past == 0 ? count : std::max(reached, past + count);
}

int64_t Held::length() const { return std::min(static_cast<int64_t>(ids.size()), reached); }

bool Held::reaches_back(const Plan &plan, int64_t past) const {
  int64_t ring = plan.model.max_context;
  for (const Buffer &buffer : plan.buffers)
    if (buffer.update == "append" && buffer.shape.size() > 1)
      ring = std::min(ring, evaluate(buffer.shape[buffer.shape.size() - 2], {}).value_or(ring));
  return past == 0 || reached <= ring || reached - past <= plan.model.prefill_chunk;
}

}  // namespace pocket
