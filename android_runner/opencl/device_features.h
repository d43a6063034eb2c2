// What an OpenCL device can do, in the plan's words, however its driver says it.
#pragma once
#include <set>
#include <string>

#include "opencl/cl_api.h"

namespace pocket {

std::set<std::string> device_features(cl::Device id);

}  // namespace pocket
