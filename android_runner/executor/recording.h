// Launches that a driver keeps and sends again in one call: cl_khr_command_buffer, or Qualcomm's
// recordable queues where that is missing.
#pragma once
#include <memory>

#include "executor/pace.h"
#include "opencl/device.h"

namespace pocket {

class Recording {
 public:
  virtual ~Recording() = default;
  virtual void add(const BoundDispatch &dispatch, const Piece &piece) = 0;
  virtual void end() = 0;                // of adding
  virtual void send(cl::Event *done) = 0;  // not while it is under way: error -59
};

// Of launches for a queue; the device can record (Device::cannot_record).
std::unique_ptr<Recording> new_recording(const Device &device, cl::Queue queue);

}  // namespace pocket
