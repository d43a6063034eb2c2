#include "gather/gather_memory.h"

#include <algorithm>

#include "gather/read_ahead.h"

namespace pocket {
namespace {

// Records that a gather selects, at most: by ids no more than there are ids.
int64_t selected(const Plan &plan, const GatherStep &gather) {
  const int64_t count = plan.tables[gather.table].count;
  return gather.select.by == Select::Ids ? std::min(gather.select.k, count) : count;
}

int64_t most_selected(const Plan &plan) {
  int64_t most = 0;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.gather) most = std::max(most, selected(plan, *step.gather));
  return most;
}

std::string named(const Table &table) { return "the slots of " + table.name; }

// Of the records that a launch looks at, at most, when they have been read.
int64_t launch_bytes(const Plan &plan, const Point &point, const GatherStep &gather) {
  const int64_t most = gather.tile ? static_cast<int64_t>(gather.tile) : point.cluster;
  return std::min(most, selected(plan, gather)) * plan.tables[gather.table].bytes;
}

// What one launch looks at, and what is read for the next ones meanwhile.
int64_t staging_bytes(const Plan &plan, const Point &point) {
  int64_t most = 0;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.gather) most = std::max(most, launch_bytes(plan, point, *step.gather));
  return point.tiles * most;
}

// What is read first, of a gather that reads records in two phases.
int64_t begun_bytes(const Plan &plan, const Point &point) {
  int64_t most = 0;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps) {
      if (!step.gather || step.gather->first.empty()) continue;
      const int64_t pages = (step.gather->first_bytes + FLASH_PAGE - 1) / FLASH_PAGE;
      most = std::max(most, std::min(point.cluster, selected(plan, *step.gather)) * pages);
    }
  return most * FLASH_PAGE;
}

}  // namespace

int64_t GatherMemory::bytes(const Plan &plan, const Point &point, bool shares) {
  const int64_t ahead = ReadAhead::bytes(plan, point);
  const int64_t ticket = Tickets::bytes(most_selected(plan));
  const int64_t filled = staging_bytes(plan, point) + int64_t{Tickets::COUNT} * ticket;
  int64_t sum = (shares ? 1 : 2) * filled + ticket + point.threads * point.max_read + ahead;
  for (size_t i = 0; i < plan.tables.size(); ++i) sum += point.slots[i] * plan.tables[i].bytes;
  return sum + begun_bytes(plan, point);
}

GatherMemory::GatherMemory(const Plan &plan, const Point &point, const Device &device)
    : shares(SharedMemory::is_one(device)),
      fillings(plan.tables.size()),
      looked(plan.tables.size()),
      begun(static_cast<size_t>(begun_bytes(plan, point))),
      staging(device, staging_bytes(plan, point)),
      tickets(device, most_selected(plan)),
      resident(plan, point, device) {
  for (size_t i = 0; i < plan.tables.size(); ++i) {
    const Table &table = plan.tables[i];
    slots.emplace_back(device, point.slots[i] * table.bytes, named(table),
                       table.count * table.bytes);
  }
}

void GatherMemory::resize(const Plan &plan, const Point &point, const Device &device) {
  staging.resize(device, staging_bytes(plan, point));
  begun.resize(static_cast<size_t>(begun_bytes(plan, point)));
  resident.follow(plan, point);
  for (size_t i = 0; i < plan.tables.size(); ++i)
    slots[i].resize(device, point.slots[i] * plan.tables[i].bytes, named(plan.tables[i]));
}

}  // namespace pocket
