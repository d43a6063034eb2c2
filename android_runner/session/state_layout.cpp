#include "session/state_layout.h"

#include <algorithm>

namespace pocket {
namespace {

SavedRows rows_of(const Plan &plan, size_t index, int64_t past) {
  const Buffer &buffer = plan.buffers[index];
  std::vector<int64_t> shape;
  for (const Expr &dim : buffer.shape) shape.push_back(evaluate(dim, {}).value_or(0));
  int64_t count = dtype_size(buffer.dtype);
  for (const int64_t dim : shape) count *= dim;
  if (buffer.update != "append" || shape.size() < 2) return {index, buffer.name, 1, count, count};
  const int64_t capacity = shape[shape.size() - 2];
  const int64_t width = dtype_size(buffer.dtype) * shape.back();
  const int64_t stride = capacity * width;
  const int64_t used = std::min(past, capacity) * width;
  return {index, buffer.name, stride ? count / stride : 0, stride, used};
}

}  // namespace

std::vector<SavedRows> saved_rows(const Plan &plan, int64_t past) {
  std::vector<SavedRows> all;
  for (size_t i = 0; i < plan.buffers.size(); ++i)
    if (plan.buffers[i].kind == "state") all.push_back(rows_of(plan, i, past));
  return all;
}

}  // namespace pocket
