#include "opencl/device_choice.h"

#include <algorithm>
#include <mutex>

#include "base/failure.h"
#include "base/json.h"
#include "opencl/cl_info.h"
#include "opencl/device_features.h"
#include "opencl/device_rank.h"

namespace pocket {
namespace {

DeviceFacts describe(cl::Platform platform, cl::Device id) {
  return {platform,
          id,
          cl::info_text(cl::GetPlatformInfo, platform, cl::PLATFORM_NAME),
          cl::info_text(cl::GetPlatformInfo, platform, cl::PLATFORM_VERSION),
          cl::info_text(cl::GetDeviceInfo, id, cl::DEVICE_NAME),
          cl::info_text(cl::GetDeviceInfo, id, cl::DRIVER_VERSION),
          cl::info<uint64_t>(id, cl::DEVICE_TYPE),
          cl::info<uint64_t>(id, cl::DEVICE_GLOBAL_MEM_SIZE),
          cl::info<uint64_t>(id, cl::DEVICE_MAX_MEM_ALLOC_SIZE),
          cl::info<uint64_t>(id, cl::DEVICE_LOCAL_MEM_SIZE),
          cl::info<cl::Uint>(id, cl::DEVICE_MAX_COMPUTE_UNITS),
          std::max(cl::info<cl::Uint>(id, cl::DEVICE_MEM_BASE_ADDR_ALIGN) / 8, 1u),
          cl::info<cl::Uint>(id, cl::DEVICE_HOST_UNIFIED_MEMORY) != 0,
          device_features(id),
          cl::info_if_known<size_t>(id, cl::DEVICE_IMAGE_MAX_BUFFER_SIZE)};
}

}  // namespace

std::string DeviceFacts::json() const {
  std::string list;
  for (const std::string &feature : features) list += (list.empty() ? "" : ", ") + quote(feature);
  return Record()
      .add("name", name)
      .add("platform", platform_name)
      .add("platform_version", platform_version)
      .add("driver", driver)
      .add("type", type & cl::TYPE_GPU   ? "gpu"
                   : type & cl::TYPE_CPU ? "cpu"
                                         : "other")
      .add("compute_units", int64_t{compute_units})
      .add("memory_bytes", static_cast<int64_t>(global_memory))
      .add("largest_buffer_bytes", static_cast<int64_t>(largest_buffer))
      .add("local_memory_bytes", static_cast<int64_t>(local_memory))
      .add("align", int64_t{align})
      .raw("unified_memory", unified ? "true" : "false")
      .raw("features", "[" + list + "]")
      .text();
}

// One thread at a time: the first call starts the loader and the drivers, and PoCL 3.1 crashes, or
// is not listed, where a second call comes meanwhile.
std::vector<DeviceFacts> list_devices() {
  static std::mutex starting;
  const std::lock_guard<std::mutex> lock(starting);
  cl::Uint count = 0;
  if (cl::GetPlatformIDs(0, nullptr, &count) != 0) return {};  // the loader knows no driver
  std::vector<cl::Platform> platforms(count);
  if (count) cl::check(cl::GetPlatformIDs(count, platforms.data(), nullptr), "clGetPlatformIDs");
  std::vector<DeviceFacts> found;
  for (const cl::Platform platform : platforms) {
    if (cl::GetDeviceIDs(platform, cl::TYPE_ALL, 0, nullptr, &count) != 0) continue;
    std::vector<cl::Device> ids(count);
    cl::check(cl::GetDeviceIDs(platform, cl::TYPE_ALL, count, ids.data(), nullptr),
              "clGetDeviceIDs");
    for (const cl::Device id : ids) found.push_back(describe(platform, id));
  }
  return found;
}

DeviceFacts choose_device(const std::string &wanted, bool for_cpu) {
  std::vector<DeviceFacts> fit;
  std::string names;
  for (const DeviceFacts &facts : list_devices()) {
    const std::string name =
        facts.platform_name + ", " + facts.platform_version + ", " + facts.name;
    names += (names.empty() ? "" : "; ") + name;
    if (is_named(name, wanted)) fit.push_back(facts);
  }
  if (names.empty())
    throw Failure("OpenCL lists no device", "no driver is installed, or it finds no hardware",
                  "apt-get install pocl-opencl-icd    or  pip install 'pocketcl[desktop]'");
  if (fit.empty())
    throw Failure("no OpenCL device matches '" + wanted + "'", "the devices here: " + names,
                  "POCKETCL_PLATFORM=… or --platform, a part of one of these names");
  const auto rank = [for_cpu](const DeviceFacts &facts) {
    return rank_of(facts.platform_name, facts.type & cl::TYPE_CPU, facts.driver, for_cpu);
  };
  return *std::max_element(fit.begin(), fit.end(), [&](const DeviceFacts &a, const DeviceFacts &b) {
    return rank(a) < rank(b);
  });
}

}  // namespace pocket
