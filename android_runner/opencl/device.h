// The OpenCL device: which one, what it can do, and its memory.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "opencl/cl_api.h"
#include "opencl/queue_priority.h"

namespace pocket {

struct DeviceFacts {
  cl::Platform platform;
  cl::Device id;
  std::string platform_name, platform_version, name, driver;
  uint64_t type, global_memory, largest_buffer, local_memory;  // local: of a work-group
  uint32_t compute_units, align;  // align: of sub-buffers, in bytes
  bool unified;                   // shares the host's memory
  std::set<std::string> features;
  std::string json() const;
};

std::vector<DeviceFacts> list_devices();

class Device {
 public:
  // The best device whose platform or name contains `wanted` (empty: any).
  Device(const std::string &wanted, const std::string &device_class, bool profiling = false,
         const std::string &priority = "normal");

  const DeviceFacts &facts() const { return facts_; }
  bool profiling() const { return profiling_; }  // its queues note when kernels run
  cl::Context context() const { return context_.get(); }
  cl::Queue queue(size_t index) const { return queues_[index].get(); }
  bool is_cpu() const { return facts_.type & cl::TYPE_CPU; }
  void need_queues(size_t count);
  cl::Owned<cl::Memory> buffer(size_t bytes, const std::string &what, void *host = nullptr) const;
  void wait() const;  // for everything in every queue

  // Why cl_khr_command_buffer can't be used here; empty when it can.
  std::string cannot_record() const;

 private:
  cl::Owned<cl::Context> make_context() const;
  cl::Owned<cl::Queue> make_queue() const;

  DeviceFacts facts_;
  const bool profiling_;
  Hints hints_;
  cl::Owned<cl::Context> context_;
  std::vector<cl::Owned<cl::Queue>> queues_;
};

cl::Owned<cl::Memory> part(const cl::Owned<cl::Memory> &whole, size_t offset, size_t bytes);

}  // namespace pocket
