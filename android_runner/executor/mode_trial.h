// How a recordable phase is launched: a few steps in each launch mode, on buffers that nobody uses
// yet.
#pragma once
#include <string>
#include <vector>

#include "executor/trial_steps.h"

namespace pocket {

// Whether recordable phases are replayed, or run cooperatively; each auto, on or off.
struct ModeWishes {
  std::string recorded = "auto", cooperative = "auto";
};

// Of one phase. It lets some steps run and clears all buffers after them.
class ModeTrial {
 public:
  ModeTrial(const Plan &plan, Device &device, Programs &programs, TrialSteps &steps,
            Pace &pace, BoundPhase &phase)
      : plan_(plan),
        device_(device),
        programs_(programs),
        steps_(steps),
        pace_(pace),
        phase_(phase) {}

  void settle(const ModeWishes &wishes);

 private:
  bool offer(LaunchMode mode, const std::string &wish);
  std::string obstacle(LaunchMode mode);
  std::string missing(LaunchMode mode) const;
  std::string no_cooperation() const;
  const File &file_of(const BoundDispatch &dispatch) const;
  void make_recorders(LaunchMode mode);
  bool agree(LaunchMode mode);
  LaunchMode compare(const std::vector<LaunchMode> &others);

  const Plan &plan_;
  Device &device_;
  Programs &programs_;
  TrialSteps &steps_;
  Pace &pace_;
  BoundPhase &phase_;
};

}  // namespace pocket
