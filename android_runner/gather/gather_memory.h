// The memory that gathers of a plan work with.
#pragma once
#include <memory>
#include <vector>

#include "gather/filling.h"
#include "gather/resident_gathers.h"
#include "gather/staging.h"
#include "gather/tickets.h"
#include "plan/plan.h"

namespace pocket {

struct GatherMemory {
  GatherMemory(const Plan &plan, const Point &point, const Device &device);

  // Of all of it, with what the host keeps: pages of threads, and copies where memory isn't shared.
  // Not what fillings map at the start.
  static int64_t bytes(const Plan &plan, const Point &point, bool shares);

  // As another point has it; when no launch and no read is under way. What of the slots has room
  // stays where it is.
  void resize(const Plan &plan, const Point &point, const Device &device);

  const bool shares;                // whether kernels look for records where reads can land
  std::vector<SharedMemory> slots;  // of each table
  std::vector<std::unique_ptr<Filling>> fillings;  // of slots that aren't the host's, at the start
  std::vector<Ended> looked;        // of each table: the last launch that looks at its slots
  std::vector<char> begun;          // first pages of records, until the rest has been read
  Staging staging;
  Tickets tickets;
  ResidentGathers resident;
};

}  // namespace pocket
