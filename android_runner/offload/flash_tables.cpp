#include "offload/flash_tables.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/failure.h"
#include "base/mapped_file.h"

namespace pocket {
namespace {

bool is_permutation_of_all(std::vector<int32_t> order) {
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] != static_cast<int32_t>(i)) return false;
  return true;
}

// A weight of a number for each record; none where the table has none.
template <class Number>
std::vector<Number> list_of(const Plan &plan, const Table &table, std::optional<size_t> index) {
  if (!index) return {};
  const Weight &weight = plan.weights[*index];
  const MappedFile file(plan.path(weight.file), static_cast<size_t>(plan.files[weight.file].bytes));
  std::vector<Number> list(static_cast<size_t>(table.count));
  memcpy(list.data(), file.data() + weight.offset, list.size() * sizeof list[0]);
  return list;
}

[[noreturn]] void fail(const Plan &plan, size_t index, const std::string &because) {
  const Weight &weight = plan.weights[index];
  throw Failure(plan.path(weight.file) + " is damaged", weight.name + because,
                "copy the plan folder again, or compile the model again");
}

std::vector<int32_t> order_of(const Plan &plan, const Table &table) {
  std::vector<int32_t> order = list_of<int32_t>(plan, table, table.order);
  if (!order.empty() && !is_permutation_of_all(order))
    fail(plan, *table.order,
         " does not have each of 0 to " + std::to_string(table.count - 1) + " once");
  return order;
}

std::vector<float> importance_of(const Plan &plan, const Table &table) {
  std::vector<float> found = list_of<float>(plan, table, table.importance);
  for (const float each : found)
    if (!(each >= 0 && std::isfinite(each)))
      fail(plan, *table.importance, " has a value that is no number from 0 on");
  return found;
}

}  // namespace

std::vector<std::vector<int32_t>> orders_of(const Plan &plan) {
  std::vector<std::vector<int32_t>> orders;
  for (const Table &table : plan.tables) orders.push_back(order_of(plan, table));
  return orders;
}

std::vector<std::vector<float>> importance_of(const Plan &plan) {
  std::vector<std::vector<float>> found;
  for (const Table &table : plan.tables) found.push_back(importance_of(plan, table));
  return found;
}

}  // namespace pocket
