// A phase with its memory placed, its kernels built and their arguments set.
#pragma once
#include <memory>
#include <vector>

#include "executor/cooperative.h"
#include "executor/mode_switch.h"
#include "executor/recorder.h"
#include "opencl/device.h"
#include "plan/plan.h"

namespace pocket {

// A segment and who sends it in each launch mode: the plain one always, the others where they are
// tried. Without dispatches it is a fetch, or a wait for its queue.
struct BoundSegment {
  Segment segment;
  std::unique_ptr<Recorder> recorders[LAUNCH_MODES];
  const BoundDispatch *host = nullptr;  // what it is instead of dispatches
  Recorder *recorder(LaunchMode mode) const { return recorders[index_of(mode)].get(); }
};

// A launch size that depends on symbols.
struct SymbolicSize {
  size_t dispatch, axis;
  const Expr *size;
};

struct BoundPhase {
  const Phase *phase = nullptr;  // none: not loaded
  std::vector<cl::Owned<cl::Memory>> scratch;
  std::vector<BoundDispatch> dispatches;             // of each step
  std::vector<std::vector<BoundDispatch>> gathered;  // inside of gathers and prefetches; sized as they go
  std::vector<BoundSegment> segments;
  std::vector<SymbolicSize> sizes;
  std::vector<size_t> size_symbols;  // slots that these sizes depend on
  std::vector<int64_t> sized_for;    // their values at the last run
  ModeSwitch modes;
  bool agreed[LAUNCH_MODES] = {};  // modes that computed what the plain one did, when they were tried
  std::shared_ptr<Cooperation> cooperation;  // where work-groups were seen side by side
  bool anew = false;  // it was bound after the trials: its mode is still to be chosen
  int64_t taken = 0;  // records that gathers which became ordinary dispatches take in each run
  bool ran = false;  // its dispatches have run, one at a time

  // Fixed sizes are computed, the others noted; and dispatches become segments, as long as they can
  // be, with the waits between them.
  void divide(const Device &device, Pace &pace);
  // Those of its steps that read, in order.
  std::vector<const GatherStep *> gathers() const;
  // Launch sizes for these values. Where none of them changed, nothing is done.
  void resize(const std::vector<int64_t> &symbols);
  // Who sends what is behind the gather that is segment `number` together with its last launch: none
  // where they are launched one after the other.
  Recorder *joined(size_t number, LaunchMode mode) const;
  // The first of the last segments, which neither gather nor write what is kept of a text: they choose
  // what comes next.
  size_t choosing(const Plan &plan) const;
  // The same after a dispatch got another variant.
  void measure_anew(const std::vector<int64_t> &symbols);

 private:
  void note_sizes();
  bool changed(const std::vector<int64_t> &symbols);
};

}  // namespace pocket
