// Runs phases of a plan: one kernel object per dispatch, its arguments set once, so that a token
// costs only enqueues; or a replay, where that was measured to be faster.
#pragma once
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "build/programs.h"
#include "executor/cooperative.h"
#include "executor/memory.h"
#include "executor/mode_switch.h"
#include "executor/profile.h"
#include "executor/recorder.h"

namespace pocket {

struct Piece {
  Run run;                               // empty: wait for the queue
  std::unique_ptr<Recorder> ways[WAYS];  // plain always, the others where they are tried
  Recorder *at(Way way) const { return ways[static_cast<size_t>(way)].get(); }
};

// A launch size that depends on symbols.
struct Sized {
  size_t launch, axis;
  const Expr *size;
};

struct LoadedPhase {
  const Phase *phase = nullptr;  // none: not loaded
  std::vector<Launch> launches;
  std::vector<Piece> pieces;
  std::vector<cl::Owned<cl::Memory>> scratch;
  std::vector<Sized> sized;
  std::vector<size_t> grid_symbols;  // slots that these sizes depend on
  std::vector<int64_t> sized_for;    // their values at the last run
  Pace pace;
  bool tried = false;  // its launches have run, one at a time
};

class Executor {
 public:
  // `flush_every`: so many launches of a phase that handles several positions; 0 leaves it to the
  // driver.
  Executor(const Plan &plan, Device &device, const Memory &memory, Programs &programs,
           size_t flush_every);

  // Has what these phases need built by several processes at once, where there is a choice of it.
  void prepare(const std::vector<const Phase *> &phases, bool cooperative);
  void load(const Phase &phase);
  bool has(const std::string &phase) const;
  int64_t dispatches(const std::string &phase) const;

  void start_profile();        // of all that runs from here on, dispatch by dispatch, unrecorded
  std::string take_profile();  // waits for it; see Profile::json

  // Whether recordable phases are replayed, or run cooperatively; each auto, on or off. After the
  // last load and before anything runs, because it lets some steps run and clears all buffers after
  // them.
  void choose(const std::string &recorded, const std::string &cooperative);
  std::string choices() const;  // as JSON

  // Enqueues the phase; `symbols` are the host's values, which launch sizes are computed from. By
  // the plan's own Phase nothing has to be looked up.
  void run(const Phase &phase, const std::vector<int64_t> &symbols);
  void run(const std::string &phase, const std::vector<int64_t> &symbols) {
    run(*plan_.phase(phase), symbols);
  }
  // How long the earliest run of the phase took of which this is not told yet, or that nobody
  // knows; and that the others won't be told of.
  void took(const Phase &phase, double seconds) { loaded(phase).pace.took(seconds); }
  void skip(const Phase &phase) { loaded(phase).pace.skip(); }
  void settled(const Phase &phase) { loaded(phase).pace.settled(); }

 private:
  std::set<size_t> likely_programs(const std::vector<const Phase *> &phases, bool cooperative);
  void note(const std::string &failures);
  std::string refusal(const Variant &variant, cl::Owned<cl::Kernel> &kernel, size_t args);
  LoadedPhase &loaded(const Phase &phase) { return phases_[&phase - plan_.phases.data()]; }
  Launch load_step(const Step &step, const LoadedPhase &loaded);
  void bind(const Step &step, const LoadedPhase &loaded, Launch &launch) const;
  void divide(LoadedPhase &loaded) const;
  void size_grids(LoadedPhase &loaded, const std::vector<int64_t> &symbols) const;
  void send(LoadedPhase &loaded, const std::vector<int64_t> &symbols, Way way);
  void send_carefully(LoadedPhase &loaded);

  std::string lacking(const LoadedPhase &loaded, Way way) const;
  void make(LoadedPhase &loaded, Way way);
  std::string prepare(LoadedPhase &loaded, Way way);
  bool offer(LoadedPhase &loaded, Way way, const std::string &wish);
  bool agree(LoadedPhase &loaded, Way way);
  std::string results() const;
  double try_steps(LoadedPhase &loaded, Way way, int64_t steps);
  void settle(LoadedPhase &loaded, const std::vector<Way> &others, Way wanted);
  Way compare(LoadedPhase &loaded, const std::vector<Way> &others);

  const Plan &plan_;
  Device &device_;
  const Memory &memory_;
  Programs &programs_;
  const size_t flush_every_;
  std::vector<LoadedPhase> phases_;  // as in the plan
  std::set<std::string> noted_;
  std::unique_ptr<Profile> profile_;  // while one is taken
};

}  // namespace pocket
