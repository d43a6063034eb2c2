// Measures a device: what it reads, computes, launches, holds and loads, each part by itself.
//
// Every part runs in a child process of its own, since drivers die of what they can't do, and with
// a time limit: a part that fails says why in its place, and the others go on.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "opencl/device.h"

namespace pocket {

struct ProbeOptions {
  std::string library, platform;  // as for a plan
  std::string source;   // a file: opencl_kernels/probes/rates.cl and probe.cl, one after the other
  std::string scratch;  // a folder for the file that flash is read from; empty: no flash
};

// One line of JSON: {"device": …, "read": …, …}; a part that failed is {"error", "because"}.
std::string probe(const ProbeOptions &options);

// A second client of the device, as a screen is: draws a small frame every `period_s` and waits for
// it. Says "ready"; then reads lines until the input ends: "go" begins and "stop" ends the drawing,
// each answered by {"waits_ms": […]}, how long each frame took since the line before.
using Say = std::function<void(const std::string &line)>;
void serve_frames(const ProbeOptions &options, double period_s, const Say &say);

// --- what the parts share ----------------------------------------------------------------------

// Median, and the spread of the middle 80 % as a share of it.
struct Summary {
  double middle = 0, spread = 0;
  size_t count = 0;
};
Summary summary(std::vector<double> values);

// Calls `once`, which returns seconds, until there are enough of them or the time is over.
std::vector<double> sample(const std::function<double()> &once, double limit_s, size_t enough);

// A device whose kernels are built from the probe's source.
class Bench {
 public:
  explicit Bench(const ProbeOptions &options, bool profiling = false);
  const std::string &library() const { return library_; }
  const Device &device() const { return device_; }
  bool cpu() const { return device_.facts().type & cl::TYPE_CPU; }
  cl::Queue queue() const { return device_.queue(0); }
  uint64_t limit(cl::Uint key) const;  // of clGetDeviceInfo; 0 where the driver doesn't know it
  cl::Owned<cl::Kernel> kernel(const std::string &defines, const char *name);
  void launch(cl::Kernel kernel, size_t items, size_t local) const;
  void finish() const;
  // One launch by the device's clock, if it is profiled and makes sense; else by ours.
  double seconds(cl::Kernel kernel, size_t items, size_t local) const;

 private:
  const std::string library_;
  Device device_;
  const std::string source_;
  std::string defines_;  // of the program built last; kernels keep theirs alive
  cl::Owned<cl::Program> program_;
};

// What rates.cl and probe.cl need where only the kernels of probe.cl are used.
extern const char *const PROBE_DEFINES;
constexpr size_t PROBE_STRIDE = 1024;  // of uint: a page of 4 KiB

void set_buffer(cl::Kernel kernel, cl::Uint index, cl::Memory memory);

// The parts, each an object of JSON.
std::string probe_limits(const ProbeOptions &options);
std::string probe_read(const ProbeOptions &options);
std::string probe_multiply_add(const ProbeOptions &options, bool half);
std::string probe_launch(const ProbeOptions &options);
std::string probe_allocation(const ProbeOptions &options);
std::string probe_alignment(const ProbeOptions &options);
std::string probe_host(const ProbeOptions &options);
std::string probe_flash(const ProbeOptions &options);
std::string probe_cores();

}  // namespace pocket
