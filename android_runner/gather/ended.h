// Whether what was enqueued in a queue until now has ended, and a wave that threads compute.
#pragma once
#include <memory>
#include <optional>

#include "opencl/cl_api.h"
#include "waves/thread_waves.h"

namespace pocket {

class Ended {
 public:
  Ended() = default;  // nothing was enqueued
  explicit Ended(cl::Queue queue);
  explicit Ended(cl::Owned<cl::Event> event);  // of what was enqueued last
  explicit Ended(std::shared_ptr<const Wave> wave) : wave_(std::move(wave)) {}
  Ended with(const Ended &wave) const;  // both

  void wait() const;
  bool seen() const;  // false also where a driver doesn't tell
  bool busy() const;  // it has not ended, as the driver tells

 private:
  std::optional<cl::Int> status() const;  // none: the driver doesn't tell

  std::shared_ptr<cl::Owned<cl::Event>> event_;
  std::shared_ptr<const Wave> wave_;
};

}  // namespace pocket
