// A whole run in one launch, on CPUs: the plan's step kernel (toolkit/compiler/cooperative.py)
// calls the body of every kernel in turn, and its work-groups, one per core, meet at a spinning
// barrier between. That needs workers that run side by side, as PoCL's do, and memory that a kernel
// can reach by address, as it can where the device's is the host's.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "executor/recorder.h"
#include "opencl/device.h"

namespace pocket {

// Why this device can't; empty when, as far as it says of itself, it can.
std::string cannot_cooperate(const DeviceFacts &facts);

class Cooperation : public std::enable_shared_from_this<Cooperation> {
 public:
  // Of a program with the kernels `steps`, `address` and `side_by_side`. Recorders share it.
  Cooperation(const Device &device, cl::Program program) : device_(device), program_(program) {}

  // Whether as many work-groups as there are cores run at the same time, in one try.
  bool side_by_side() const;
  std::unique_ptr<Recorder> recorder(const Segment &segment);

  const Device &device() const { return device_; }
  cl::Owned<cl::Kernel> kernel(const char *name) const;
  // Of memory that stays as long as this; what isn't known yet is asked for, behind all that runs.
  void learn(const std::vector<cl::Memory> &memories);
  uint64_t address(cl::Memory memory) const { return addresses_.at(memory); }
  void forget() { addresses_.clear(); }

 private:
  const Device &device_;
  const cl::Program program_;
  std::map<cl::Memory, uint64_t> addresses_;
};

}  // namespace pocket
