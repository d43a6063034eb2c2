// Runs phases of a plan: one kernel object per dispatch, its arguments set once, so that a token
// costs only enqueues; or a replay, where that was measured to be faster.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "memory.h"
#include "pace.h"
#include "profile.h"
#include "program_cache.h"
#include "recorder.h"

namespace pocket {

struct Piece {
  Run run;  // empty: wait for the queue
  std::unique_ptr<Recorder> plain, recorded;
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
};

class Executor {
 public:
  Executor(const Plan &plan, Device &device, const Memory &memory, ProgramCache &programs);

  void load(const Phase &phase);
  bool has(const std::string &phase) const;
  int64_t dispatches(const std::string &phase) const;

  void start_profile();        // of all that runs from here on, dispatch by dispatch, unrecorded
  std::string take_profile();  // waits for it; see Profile::json

  // Whether recordable phases are replayed; `wanted`: auto, on or off. After the last load and
  // before anything runs, because it lets some steps run and clears all buffers after them.
  void choose(const std::string &wanted);
  std::string choices() const;  // as JSON

  // Enqueues the phase; `symbols` are the host's values, which launch sizes are computed from. By
  // the plan's own Phase nothing has to be looked up.
  void run(const Phase &phase, const std::vector<int64_t> &symbols);
  void run(const std::string &phase, const std::vector<int64_t> &symbols) {
    run(*plan_.phase(phase), symbols);
  }

 private:
  struct Build {
    cl::Owned<cl::Program> program;
    std::string log;
  };
  const Build &build(size_t program);
  std::string name_of(const Variant &variant) const;
  std::string lacking(const Variant &variant) const;
  void note(const std::string &failures);
  std::string refusal(const Variant &variant, cl::Owned<cl::Kernel> &kernel, size_t args);
  LoadedPhase &loaded(const Phase &phase) { return phases_[&phase - plan_.phases.data()]; }
  Launch load_step(const Step &step, const LoadedPhase &loaded);
  void bind(const Step &step, const LoadedPhase &loaded, cl::Kernel kernel) const;
  void divide(LoadedPhase &loaded) const;
  void size_grids(LoadedPhase &loaded, const std::vector<int64_t> &symbols) const;
  void send(LoadedPhase &loaded, const std::vector<int64_t> &symbols, bool recorded);

  std::string record(LoadedPhase &loaded, const std::string &wanted);
  bool agree(LoadedPhase &loaded);
  std::string results() const;
  double try_steps(LoadedPhase &loaded, bool recorded, int64_t steps);
  void compare(LoadedPhase &loaded, int64_t steps);

  const Plan &plan_;
  Device &device_;
  const Memory &memory_;
  ProgramCache &programs_;
  std::map<size_t, Build> builds_;  // by program
  std::vector<LoadedPhase> phases_;  // as in the plan
  std::set<std::string> noted_;
  const LoadedPhase *last_ = nullptr;  // that ran
  std::unique_ptr<Profile> profile_;   // while one is taken
};

}  // namespace pocket
