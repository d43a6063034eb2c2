// Memory of a device that the host fills while others work, before any kernel looks at it: mapped, by
// a queue of its own, which waits for no kernel.
#pragma once
#include <memory>

#include "opencl/device.h"

namespace pocket {

class Filling {
 public:
  // Of the first `bytes`, whatever they have; null where the driver maps none, or
  // gives no queue for it.
  static std::unique_ptr<Filling> begin(const Device &device, cl::Memory memory, int64_t bytes);
  Filling(const Filling &) = delete;
  Filling &operator=(const Filling &) = delete;
  ~Filling();  // when nobody fills it any more

  char *host() const { return host_; }
  // What was filled is the device's; waits for that. Throws Failure.
  void end();

 private:
  Filling(cl::Owned<cl::Queue> queue, cl::Memory memory, char *host)
      : queue_(std::move(queue)), memory_(memory), host_(host) {}
  cl::Int unmap();

  const cl::Owned<cl::Queue> queue_;
  const cl::Memory memory_;
  char *host_;  // none: it has ended
};

}  // namespace pocket
