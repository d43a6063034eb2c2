// How a recordable phase is launched: a few steps in each launch mode, on buffers that nobody uses
// yet; or, where its steps become others in the middle of a text, by steps of that.
#pragma once
#include <string>
#include <vector>

#include "executor/trial_steps.h"

namespace pocket {

// Whether recordable phases are replayed, or run cooperatively; each auto, on or off.
struct ModeWishes {
  std::string recorded = "auto", cooperative = "auto";
};

// Of one phase.
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

  // Lets some steps run and clears all buffers after them.
  void settle(const ModeWishes &wishes);
  // Of one that was bound anew, from the same kernels: no step runs now. Modes that agreed when they
  // were tried take turns with the plain one from here on; the others stay refused.
  void settle_anew(const ModeWishes &wishes);

 private:
  bool offer(LaunchMode mode, const std::string &wish);
  std::string trial_of(LaunchMode mode) const;
  std::string obstacle(LaunchMode mode);
  std::string obstacle_anew(LaunchMode mode);
  std::string missing(LaunchMode mode) const;
  std::string no_cooperation() const;
  const File &file_of(const BoundDispatch &dispatch) const;
  void make_recorders(LaunchMode mode);
  void need_cooperation();
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
