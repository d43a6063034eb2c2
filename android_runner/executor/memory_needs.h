// How much memory a plan needs on a device, found before anything is allocated.
#pragma once
#include <string>
#include <vector>

#include "opencl/device_choice.h"
#include "plan/plan.h"

namespace pocket {

// Bytes on the device, by what they are for.
struct MemoryNeeds {
  int64_t weights = 0, states = 0, buffers = 0, arena = 0;
  int64_t besides_weights() const;
};

// Bytes of each buffer of the plan in these phases.
std::vector<int64_t> buffer_sizes(const Plan &plan, const std::vector<const Phase *> &phases);
MemoryNeeds needs_of(const Plan &plan, const std::vector<int64_t> &sizes, int64_t arena);

// Throws Failure where the device has less.
void check_room(const MemoryNeeds &needs, const DeviceFacts &facts);

}  // namespace pocket
