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
  int64_t slots = 0;  // of tables, and what else gathers need
  int64_t besides_weights() const;
};

// Bytes of each buffer of the plan in these phases.
std::vector<int64_t> buffer_sizes(const Plan &plan, const std::vector<const Phase *> &phases);
MemoryNeeds needs_of(const Plan &plan, const std::vector<int64_t> &sizes, int64_t arena,
                     int64_t slots);

// Whether the device reads the weights in the host's mapping of their files.
bool maps_weights(const Plan &plan, const DeviceFacts &facts);

// Throws Failure where the device has less; `mapped`: the weights are.
void check_room(const MemoryNeeds &needs, const DeviceFacts &facts, bool mapped);

}  // namespace pocket
