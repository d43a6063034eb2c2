// How much of a shared GPU the driver is asked to give us, while the screen wants its share too.
#pragma once
#include <string>
#include <vector>

#include "opencl/cl_api.h"
#include "opencl/device_choice.h"

namespace pocket {

// Pairs of a property and a value, for clCreateContext and clCreateCommandQueueWithProperties.
struct Hints {
  std::vector<cl::Props> context;
  std::vector<uint64_t> queue;
  bool any() const { return !context.empty() || !queue.empty(); }
};

// Each low, normal or high. Of the priority normal asks for nothing; the power, for which clocks may
// be raised, is high with a high priority unless it is given, and otherwise not asked for.
struct HintWishes {
  std::string priority = "normal", power;
};

// As far as the device lists what they need. Of a Mali's cores a low priority leaves one to others.
Hints hints_for(const HintWishes &wishes, const DeviceFacts &facts);

bool lists(const std::string &extensions, const std::string &name);

}  // namespace pocket
