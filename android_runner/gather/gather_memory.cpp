#include "gather/gather_memory.h"

#include <algorithm>

namespace pocket {
namespace {

int64_t largest(const Plan &plan, int64_t Table::*what) {
  int64_t most = 0;
  for (const Table &table : plan.tables) most = std::max(most, table.*what);
  return most;
}

// Records of a launch of what was read, at most.
int64_t largest_launch(const Plan &plan, const Point &point) {
  int64_t most = point.cluster;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.gather) most = std::max(most, static_cast<int64_t>(step.gather->tile));
  return std::min(most, largest(plan, &Table::count));
}

// What one launch looks at, and what is read for the next one meanwhile.
int64_t staging_bytes(const Plan &plan, const Point &point) {
  return 2 * largest_launch(plan, point) * largest(plan, &Table::bytes);
}

}  // namespace

int64_t GatherMemory::bytes(const Plan &plan, const Point &point) {
  int64_t sum = staging_bytes(plan, point) + Tickets::bytes(largest(plan, &Table::count));
  for (size_t i = 0; i < plan.tables.size(); ++i) sum += point.slots[i] * plan.tables[i].bytes;
  return sum;
}

GatherMemory::GatherMemory(const Plan &plan, const Point &point, const Device &device)
    : shares(SharedMemory::is_one(device)),
      looked(plan.tables.size()),
      staging(device, staging_bytes(plan, point)),
      tickets(device, largest(plan, &Table::count)) {
  for (size_t i = 0; i < plan.tables.size(); ++i)
    slots.emplace_back(device, point.slots[i] * plan.tables[i].bytes,
                       "the slots of " + plan.tables[i].name);
}

}  // namespace pocket
