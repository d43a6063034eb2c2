#include "gather/shared_memory.h"

#include <algorithm>

namespace pocket {

bool SharedMemory::is_one(const Device &device) {
  return device.is_cpu() && device.facts().unified;
}

// A driver may want whole cache lines, and no buffer has no byte.
SharedMemory::SharedMemory(const Device &device, int64_t bytes, const std::string &what) {
  const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 64));
  if (is_one(device)) pages_.emplace(size);
  memory_ = device.buffer(size, what, host());
}

void SharedMemory::write(cl::Queue queue, int64_t offset, const void *data, int64_t bytes) const {
  cl::check(cl::EnqueueWriteBuffer(queue, get(), 0, static_cast<size_t>(offset),
                                   static_cast<size_t>(bytes), data, 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
}

}  // namespace pocket
