// Sends phases to the device: one kernel object per dispatch, its arguments set once, so that a
// token costs only enqueues; or a replay, where that was measured to be faster.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "executor/bound_phase.h"
#include "executor/memory.h"
#include "executor/profile.h"
#include "executor/variant_choice.h"

namespace pocket {

class PhaseRunner {
 public:
  // `flush_every`: so many launches of a phase that handles several positions; 0 leaves it to the
  // driver.
  PhaseRunner(const Plan &plan, Device &device, const Memory &memory, Programs &programs,
              size_t flush_every);

  // Chooses variants, builds what is not built yet, and sets arguments.
  void load(const std::vector<const Phase *> &phases, bool cooperative);
  std::vector<BoundPhase> &phases() { return phases_; }  // as in the plan
  const BoundPhase &bound(const Phase &phase) const { return phases_[index(phase)]; }
  BoundPhase &bound(const Phase &phase) { return phases_[index(phase)]; }

  // Enqueues a phase; `symbols` are the host's values, which launch sizes are computed from.
  void run(BoundPhase &phase, const std::vector<int64_t> &symbols);
  void send(BoundPhase &phase, const std::vector<int64_t> &symbols, LaunchMode mode);

  void start_profile();        // of all that runs from here on, dispatch by dispatch, unrecorded
  std::string take_profile();  // waits for it; see Profile::json

 private:
  size_t index(const Phase &phase) const { return &phase - plan_.phases.data(); }
  void bind(const Phase &phase);
  BoundDispatch bind_dispatch(const Step &step, const BoundPhase &bound);
  void set_arguments(const BoundPhase &bound, BoundDispatch &dispatch) const;
  cl::Memory memory_of(const Argument &argument, const BoundPhase &bound) const;
  void send_carefully(BoundPhase &phase);

  const Plan &plan_;
  Device &device_;
  const Memory &memory_;
  Programs &programs_;
  const size_t flush_every_;
  VariantChoice variants_;
  std::vector<BoundPhase> phases_;
  std::unique_ptr<Profile> profile_;  // while one is taken
};

}  // namespace pocket
