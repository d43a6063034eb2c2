#include "opencl/device.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <tuple>

#include "base/failure.h"
#include "base/json.h"
#include "base/text.h"
#include "opencl/cl_info.h"
#include "opencl/cl_library.h"
#include "opencl/device_features.h"

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
          device_features(id)};
}

std::string lower(std::string text) {
  for (char &c : text) c = static_cast<char>(tolower(static_cast<unsigned char>(c)));
  return text;
}

bool checker(const DeviceFacts &facts) { return facts.platform_name == "Oclgrind"; }

// "3.1+debian" gives {3, 1}: a newer driver compares greater.
std::vector<int> numbers(const std::string &version) {
  std::vector<int> found;
  const char *at = version.c_str();
  while (*at && found.size() < 2) {
    char *end = nullptr;
    if (isdigit(static_cast<unsigned char>(*at))) found.push_back(strtol(at, &end, 10)), at = end;
    else ++at;
  }
  return found;
}

// Of the plan's kind (CPU or not), then with the newest driver, as the Python executor chooses
// (toolkit/executors/machine.py).
// Oclgrind, a checker, only on request.
DeviceFacts choose(const std::string &wanted, const std::string &device_class) {
  const bool cpu = device_class == "cpu";
  std::vector<DeviceFacts> fit;
  std::string names;
  for (const DeviceFacts &facts : list_devices()) {
    const std::string name =
        facts.platform_version + ", " + facts.platform_name + ", " + facts.name;
    names += (names.empty() ? "" : "; ") + name;
    if (lower(name).find(lower(wanted)) != std::string::npos) fit.push_back(facts);
  }
  if (names.empty())
    throw Failure("OpenCL lists no device", "no driver is installed, or it finds no hardware",
                  "apt-get install pocl-opencl-icd    or  pip install 'pocketcl[desktop]'");
  if (fit.empty())
    throw Failure("no OpenCL device matches '" + wanted + "'", "the devices here: " + names,
                  "POCKETCL_PLATFORM=… or --platform, a part of one of these names");
  const auto rank = [cpu](const DeviceFacts &facts) {
    const bool kind = ((facts.type & cl::TYPE_CPU) != 0) == cpu;
    return std::tuple(!checker(facts), kind, numbers(facts.driver));
  };
  return *std::max_element(fit.begin(), fit.end(), [&](const DeviceFacts &a, const DeviceFacts &b) {
    return rank(a) < rank(b);
  });
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

std::vector<DeviceFacts> list_devices() {
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

Device::Device(const std::string &wanted, const std::string &device_class, bool profiling,
               const std::string &priority)
    : facts_(choose(wanted, device_class)), profiling_(profiling) {
  hints_ = priority_hints(priority,
                          cl::info_text(cl::GetDeviceInfo, facts_.id, cl::DEVICE_EXTENSIONS));
  if (priority != "normal" && !hints_.any())
    fprintf(stderr, "note: the driver takes no hints: --priority %s changes nothing\n",
            priority.c_str());
  try {
    context_ = make_context();
    queues_.push_back(make_queue());
  } catch (const DeviceFailure &failure) {
    if (!hints_.any()) throw;
    fprintf(stderr, "note: the driver takes no --priority: %s\n", failure.because.c_str());
    hints_ = {};
    context_ = make_context();
    queues_.push_back(make_queue());
  }
}

cl::Owned<cl::Context> Device::make_context() const {
  std::vector<cl::Props> props = {cl::CONTEXT_PLATFORM,
                                  reinterpret_cast<cl::Props>(facts_.platform)};
  props.insert(props.end(), hints_.context.begin(), hints_.context.end());
  props.push_back(0);
  cl::Int code = 0;
  cl::Owned<cl::Context> made(
      cl::CreateContext(props.data(), 1, &facts_.id, nullptr, nullptr, &code));
  cl::check(code, "clCreateContext");
  return made;
}

// The older function where it is enough: not every driver has the newer one.
cl::Owned<cl::Queue> Device::make_queue() const {
  const cl::Bits flags = profiling_ ? cl::Bits{cl::QUEUE_PROFILING} : 0;
  cl::Int code = 0;
  if (hints_.queue.empty() && cl::CreateCommandQueue) {
    cl::Owned<cl::Queue> made(cl::CreateCommandQueue(context(), facts_.id, flags, &code));
    cl::check(code, "clCreateCommandQueue");
    return made;
  }
  std::vector<uint64_t> props = {cl::QUEUE_PROPERTIES, flags};
  props.insert(props.end(), hints_.queue.begin(), hints_.queue.end());
  props.push_back(0);
  cl::Owned<cl::Queue> made(
      cl::CreateCommandQueueWithProperties(context(), facts_.id, props.data(), &code));
  cl::check(code, "clCreateCommandQueueWithProperties");
  return made;
}

void Device::need_queues(size_t count) {
  while (queues_.size() < count) queues_.push_back(make_queue());
}

cl::Owned<cl::Memory> Device::buffer(size_t bytes, const std::string &what, void *host) const {
  if (bytes > facts_.largest_buffer)
    throw Failure(what + " needs a buffer of " + std::to_string(bytes) + " bytes",
                  facts_.name + " allows at most " + std::to_string(facts_.largest_buffer),
                  "a smaller --max-context or --prefill-chunk, or a smaller model");
  cl::Int code = 0;
  const cl::Bits flags = host ? cl::READ_ONLY | cl::USE_HOST_PTR : cl::READ_WRITE;
  cl::Owned<cl::Memory> memory(cl::CreateBuffer(context(), flags, bytes, host, &code));
  cl::check(code, ("clCreateBuffer for " + what).c_str());
  return memory;
}

void Device::wait() const {
  for (const auto &queue : queues_) cl::check(cl::Finish(queue.get()), "clFinish");
}

std::string Device::cannot_record() const {
  const std::string extension = "cl_khr_command_buffer";
  const std::string all = cl::info_text(cl::GetDeviceInfo, facts_.id, cl::DEVICE_EXTENSIONS);
  if (!lists(all, extension)) return "the device has no " + extension;
  cl::Bits needed = 0;  // a driver that doesn't know the question needs nothing
  if (cl::GetDeviceInfo(facts_.id, cl::DEVICE_COMMAND_BUFFER_REQUIRED_QUEUE_PROPERTIES,
                        sizeof needed, &needed, nullptr) == 0 &&
      needed & ~(profiling_ ? cl::Bits{cl::QUEUE_PROFILING} : 0))
    return extension + " needs queues of another kind here";
  const bool complete = cl::load_command_buffers(facts_.platform);
  return complete ? "" : "a function of " + extension + " is missing";
}

cl::Owned<cl::Memory> part(const cl::Owned<cl::Memory> &whole, size_t offset, size_t bytes) {
  cl::Int code = 0;
  const cl::Region region{offset, bytes};
  cl::Owned<cl::Memory> memory(
      cl::CreateSubBuffer(whole.get(), 0, cl::BUFFER_CREATE_TYPE_REGION, &region, &code));
  cl::check(code, "clCreateSubBuffer");
  return memory;
}

}  // namespace pocket
