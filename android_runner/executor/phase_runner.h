// Sends phases to the device: one kernel object per dispatch, its arguments set once, so that a
// token costs only enqueues; or a replay, where that was measured to be faster.
#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/halves.h"
#include "executor/bound_phase.h"
#include "executor/memory.h"
#include "executor/profile.h"
#include "executor/variant_choice.h"
#include "gather/gatherer.h"

namespace pocket {

class PhaseRunner {
 public:
  // `budget_s`: see Pace. `gatherer`: of a plan with tables.
  PhaseRunner(const Plan &plan, Device &device, const Memory &memory, Programs &programs,
              double budget_s, Gatherer *gatherer);

  // Chooses variants, builds what is not built yet, and sets arguments.
  void load(const std::vector<const Phase *> &phases, bool cooperative);
  Pace &pace() { return pace_; }
  std::vector<BoundPhase> &phases() { return phases_; }  // as in the plan
  const BoundPhase &bound(const Phase &phase) const { return phases_[index(phase)]; }
  BoundPhase &bound(const Phase &phase) { return phases_[index(phase)]; }

  // Enqueues a phase; `symbols` are the host's values, which launch sizes are computed from. `take`
  // gets each buffer where the phase hands it over: a read that is enqueued then sees what it holds
  // there. Where it `chooses` nothing, what does is left out, at least if the phase has run before.
  using Take = std::function<void(size_t buffer)>;
  void run(BoundPhase &phase, const std::vector<int64_t> &symbols, const Take &take, bool chooses);
  void send(BoundPhase &phase, const std::vector<int64_t> &symbols, LaunchMode mode,
            const Take &take = {}, bool chooses = true);

  // For who looks at dispatches one by one: the variants that there are, one of them bound, the
  // first that works in place of the present one, and a launch that changes it where it is refused.
  VariantChoice &variants() { return variants_; }
  BoundDispatch bind_first(const Step &step, const BoundPhase &bound);
  BoundDispatch bind_variant(const Step &step, ChosenVariant chosen, const BoundPhase &bound);
  void choose_anew(BoundPhase &phase, BoundDispatch &dispatch,
                   const std::vector<int64_t> &symbols);
  void launch_or_replace(BoundPhase &phase, BoundDispatch &dispatch,
                         const std::vector<int64_t> &symbols);

  // What dispatches inside of gathers are given from here on; says what they were given before.
  struct Handed {
    cl::Memory ticket = nullptr, slots = nullptr, rule = nullptr;
  };
  Handed hand_over(const Handed &handed) { return std::exchange(handed_, handed); }

  Gatherer *gatherer() const { return gatherer_; }
  void forget_slots();  // buffers of records are others: what kernels were given is given anew

  void start_profile();        // of all that runs from here on, dispatch by dispatch, unrecorded
  std::string take_profile();  // waits for it; see Profile::json

  void start_halves();  // counted from here on, dispatch by dispatch, unrecorded
  std::string take_halves();  // see Halves::json

 private:
  size_t index(const Phase &phase) const { return &phase - plan_.phases.data(); }
  void bind(const Phase &phase);
  void bind_inside(const Step &step, const std::vector<Step> &dispatches, BoundPhase &bound);
  void bind_resident(const Step &step, BoundPhase &bound);
  void hand_over(const GatherStep &gather);
  void forget_slots(BoundPhase &bound);
  bool fits_residence(const BoundPhase &bound) const;
  void bind_anew(BoundPhase &bound);
  void set_arguments(const BoundPhase &bound, BoundDispatch &dispatch) const;
  cl::Memory memory_of(const Argument &argument, const BoundPhase &bound) const;
  void send_segments(BoundPhase &phase, const std::vector<int64_t> &symbols, LaunchMode mode,
                     const Take &take, bool chooses);
  void send_carefully(BoundPhase &phase, const std::vector<int64_t> &symbols, const Take &take);
  void count_halves(const BoundPhase &phase, const Step &step,
                    const std::vector<int64_t> &symbols);
  using Seen = std::set<const Program *>;  // that were launched
  void launch_carefully(BoundPhase &phase, BoundDispatch &dispatch,
                        const std::vector<int64_t> &symbols, Seen &seen);
  int64_t elements(const Argument &argument, const BoundPhase &phase,
                   const std::vector<int64_t> &symbols) const;
  UnitMemory unit_memory(const GatherStep &gather, const BoundPhase &phase,
                         const std::vector<int64_t> &symbols) const;
  // `behind`: sends the run behind the gather together with its last launch.
  void do_gather(BoundPhase &phase, const BoundDispatch &step,
                 const std::vector<int64_t> &symbols, Seen *seen, Recorder *behind);
  void launch_gathered(BoundPhase &phase, BoundDispatch &dispatch,
                       const std::vector<int64_t> &symbols, Seen *seen);
  void do_prefetch(BoundPhase &phase, const std::vector<int64_t> &symbols, Seen *seen);
  void do_host_step(const BoundDispatch &step, const Take &take) const;

  const Plan &plan_;
  Device &device_;
  const Memory &memory_;
  Programs &programs_;
  Pace pace_;
  VariantChoice variants_;
  std::vector<BoundPhase> phases_;
  Gatherer *const gatherer_;  // none: the plan has no tables
  Handed handed_;  // of the launch of a gather
  const BoundDispatch *early_ = nullptr;  // the prefetch that the next gather sends
  std::unique_ptr<Profile> profile_;  // while one is taken
  std::unique_ptr<Halves> halves_;    // while they are counted
};

}  // namespace pocket
