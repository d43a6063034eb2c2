#include "gather/shared_memory.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace pocket {
namespace {

constexpr int64_t AT_ONCE = 4 << 20;  // bytes of a copy that are on the host

// A driver may want whole cache lines, and no buffer has no byte.
size_t size_of(int64_t bytes) { return static_cast<size_t>(std::max<int64_t>(bytes, 64)); }

void copy(const Device &device, cl::Memory from, cl::Memory to, int64_t bytes) {
  std::vector<char> piece(static_cast<size_t>(std::min(bytes, AT_ONCE)));
  for (int64_t at = 0; at < bytes; at += AT_ONCE) {
    const auto size = static_cast<size_t>(std::min(AT_ONCE, bytes - at));
    device.read(from, static_cast<size_t>(at), piece.data(), size);
    device.write(to, static_cast<size_t>(at), piece.data(), size);
  }
}

}  // namespace

bool SharedMemory::is_one(const Device &device) {
  return device.is_cpu() && device.facts().unified;
}

SharedMemory::SharedMemory(const Device &device, int64_t bytes, const std::string &what,
                           int64_t most)
    : bytes_(bytes) {
  if (is_one(device)) pages_.emplace(size_of(std::max(bytes, most)));
  memory_ = device.buffer(size_of(bytes), what, host());
}

void SharedMemory::resize(const Device &device, int64_t bytes, const std::string &what) {
  if (bytes == bytes_) return;
  cl::Owned<cl::Memory> memory = device.buffer(size_of(bytes), what, host());
  if (pages_) pages_->give_back(size_of(bytes));
  else copy(device, get(), memory.get(), std::min(bytes, bytes_));
  memory_ = std::move(memory);
  bytes_ = bytes;
}

void SharedMemory::write(cl::Queue queue, int64_t offset, const void *data, int64_t bytes) const {
  cl::check(cl::EnqueueWriteBuffer(queue, get(), 0, static_cast<size_t>(offset),
                                   static_cast<size_t>(bytes), data, 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
}

}  // namespace pocket
