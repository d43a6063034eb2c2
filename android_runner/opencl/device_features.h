// What an OpenCL device can do, in the plan's words, however its driver says it.
#pragma once
#include <set>
#include <string>

#include "opencl/cl_api.h"

namespace pocket {

std::set<std::string> device_features(cl::Device id);

// Of "OpenCL 3.0 …" 30; 0 where the driver says something else. Drivers are asked only what their
// version knows: some complain.
int opencl_version(cl::Device id);

}  // namespace pocket
