#include "gather/filling.h"

#include <utility>

#include "base/failure.h"

namespace pocket {
namespace {

// Some drivers give no second one.
cl::Owned<cl::Queue> own_queue(const Device &device) try {
  return device.another_queue();
} catch (const DeviceFailure &) {
  return {};
}

}  // namespace

std::unique_ptr<Filling> Filling::begin(const Device &device, cl::Memory memory, int64_t bytes) {
  if (!cl::EnqueueMapBuffer) return nullptr;
  cl::Owned<cl::Queue> queue = own_queue(device);
  if (!queue.get()) return nullptr;
  cl::Int code = 0;
  void *const mapped =
      cl::EnqueueMapBuffer(queue.get(), memory, 1, cl::MAP_WRITE_INVALIDATE, 0,
                           static_cast<size_t>(bytes), 0, nullptr, nullptr, &code);
  if (code != 0) return nullptr;
  return std::unique_ptr<Filling>(
      new Filling(std::move(queue), memory, static_cast<char *>(mapped)));
}

Filling::~Filling() {
  if (host_) unmap();
}

void Filling::end() { cl::check(unmap(), "clEnqueueUnmapMemObject"); }

cl::Int Filling::unmap() {
  const cl::Int code = cl::EnqueueUnmapMemObject(
      queue_.get(), memory_, std::exchange(host_, nullptr), 0, nullptr, nullptr);
  const cl::Int ended = cl::Finish(queue_.get());
  return code == 0 ? ended : code;
}

}  // namespace pocket
