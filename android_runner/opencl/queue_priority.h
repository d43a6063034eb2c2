// How much of a shared GPU the driver is asked to give us, while the screen wants its share too.
#pragma once
#include <string>
#include <vector>

#include "opencl/cl_api.h"

namespace pocket {

// Pairs of a property and a value, for clCreateContext and clCreateCommandQueueWithProperties.
struct Hints {
  std::vector<cl::Props> context;
  std::vector<uint64_t> queue;
  bool any() const { return !context.empty() || !queue.empty(); }
};

// `priority` is low, normal or high; `extensions` what the device lists. Normal asks for nothing.
Hints priority_hints(const std::string &priority, const std::string &extensions);

bool lists(const std::string &extensions, const std::string &name);

}  // namespace pocket
