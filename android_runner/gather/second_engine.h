// Threads that compute some of a gather's records while the device computes the others; the device
// gets their sum behind its own. Which engine has a record hangs on where it lies, never on timing.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gather/ended.h"
#include "offload/machine.h"
#include "opencl/device.h"
#include "waves/thread_waves.h"

namespace pocket {

// Who computes a gather's records: the device; threads, where they can; or the device what was in
// memory, and threads what is read.
enum class Engines { Device, Threads, Both };
Engines engine_called(const std::string &word);  // throws Failure

// Memory that a unit reads and writes, and how many numbers it has in this run.
struct UnitMemory {
  struct Numbers {
    cl::Memory memory = nullptr;
    size_t count = 0;
    bool half = false;
  };
  Numbers x, given, part;
  cl::Memory gate_bias = nullptr, up_bias = nullptr;
};

class SecondEngine {
 public:
  SecondEngine(const Plan &plan, const Device &device) : plan_(plan), device_(device) {}
  SecondEngine(const SecondEngine &) = delete;

  // Throws Failure where the plan, or memory that it `shares` with the device or not, has no such engine.
  void check(Engines engine, bool shares) const;
  // Threads are there from here on, where the engine has any. Throws Failure where it can't be had;
  // then the engine stays.
  void use(Engines engine, bool shares);
  // Whether threads compute any of the gather's records.
  bool helps(const GatherStep &gather) const;
  bool alone() const { return engine_ == Engines::Threads; }
  // Whether they compute this launch.
  bool takes(const GatherLaunch &launch) const { return alone() || !launch.resident; }

  // What they need of the device is on its way, behind what computes it; before any launch of the
  // gather, which would be waited for.
  void fetch(const GatherStep &gather, const UnitMemory &memory, cl::Queue queue);
  std::shared_ptr<const Wave> launch(std::vector<WaveRecord> records);
  // Waits for what they compute, and adds it to the device's sums, if it `began` these; else they are
  // these alone.
  void end(cl::Queue queue, bool began);
  void abandon();  // nothing is under way any more

  std::string counts() const;  // as JSON
  // What it keeps beside the budget: inputs, biases and sums, as long as its longest run needs.
  int64_t bytes() const;

 private:
  void begin();
  const float *bias(cl::Memory memory, size_t count);

  const Plan &plan_;
  const Device &device_;
  Engines engine_ = Engines::Device;
  std::map<const GatherStep *, NeuronSums> sums_;
  std::map<cl::Memory, std::vector<float>> biases_;
  std::vector<char> x_, given_;  // as the device has them
  cl::Owned<cl::Event> came_;    // of these
  const GatherStep *gather_ = nullptr;  // that they are read for
  UnitMemory memory_;
  bool begun_ = false;
  UnitInputs inputs_;
  std::vector<float> part_;  // on its way to the device
  Ended sent_;               // of it
  int64_t records_ = 0;
  // Of the session's thread: to bring numbers here, for what threads compute, and to bring it back.
  double fetch_s_ = 0, wait_s_ = 0, join_s_ = 0;
  std::unique_ptr<ThreadWaves> waves_;  // last: its threads look at sums and inputs
};

}  // namespace pocket
