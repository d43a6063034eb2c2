// Whether what was enqueued in a queue until now has ended.
#pragma once
#include <memory>
#include <optional>

#include "opencl/cl_api.h"

namespace pocket {

class Ended {
 public:
  Ended() = default;  // nothing was enqueued
  explicit Ended(cl::Queue queue);
  explicit Ended(cl::Owned<cl::Event> event);  // of what was enqueued last

  void wait() const;
  bool seen() const;  // false also where a driver doesn't tell
  bool busy() const;  // it has not ended, as the driver tells

 private:
  std::optional<cl::Int> status() const;  // none: the driver doesn't tell

  std::shared_ptr<cl::Owned<cl::Event>> event_;
};

}  // namespace pocket
