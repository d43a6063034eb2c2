#include "offload/flash_tables.h"

#include <algorithm>
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

std::vector<int32_t> order_of(const Plan &plan, const Table &table) {
  if (!table.order) return {};
  const Weight &weight = plan.weights[*table.order];
  const std::string path = plan.path(weight.file);
  const MappedFile file(path, static_cast<size_t>(plan.files[weight.file].bytes));
  std::vector<int32_t> order(static_cast<size_t>(table.count));
  memcpy(order.data(), file.data() + weight.offset, order.size() * sizeof order[0]);
  if (!is_permutation_of_all(order))
    throw Failure(path + " is damaged",
                  weight.name + " does not have each of 0 to " + std::to_string(table.count - 1) +
                      " once",
                  "copy the plan folder again, or compile the model again");
  return order;
}

}  // namespace

std::vector<std::vector<int32_t>> orders_of(const Plan &plan) {
  std::vector<std::vector<int32_t>> orders;
  for (const Table &table : plan.tables) orders.push_back(order_of(plan, table));
  return orders;
}

}  // namespace pocket
