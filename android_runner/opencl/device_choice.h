// The OpenCL devices here, and the one to run on.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "opencl/cl_api.h"

namespace pocket {

struct DeviceFacts {
  cl::Platform platform;
  cl::Device id;
  std::string platform_name, platform_version, name, driver;
  uint64_t type, global_memory, largest_buffer, local_memory;  // local: of a work-group
  uint32_t compute_units, align;                               // align: of sub-buffers, in bytes
  bool unified;                                                // shares the host's memory
  std::set<std::string> features;
  size_t image_texels;  // of an image over a buffer, at most
  std::string json() const;
};

std::vector<DeviceFacts> list_devices();

// The best device whose platform or name contains `wanted` (empty: any); see device_rank.h.
DeviceFacts choose_device(const std::string &wanted, bool for_cpu);

}  // namespace pocket
