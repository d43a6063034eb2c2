// Runs phases of a plan: one kernel object per dispatch, its arguments set once, so that a token
// costs only enqueues.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "memory.h"
#include "profile.h"
#include "program_cache.h"

namespace pocket {

struct Launch {
  cl::Owned<cl::Kernel> kernel;  // none: wait for the queue
  size_t queue;
  const Variant *variant;
  size_t global[3], local[3];
  const Step *step = nullptr;
};

struct LoadedPhase {
  const Phase *phase = nullptr;
  std::vector<Launch> launches;
  std::vector<cl::Owned<cl::Memory>> scratch;
  std::vector<size_t> grid_symbols;  // slots that its launch sizes depend on
  std::vector<int64_t> sized_for;    // their values at the last run
  bool sized = false;
};

class Executor {
 public:
  Executor(const Plan &plan, Device &device, const Memory &memory, ProgramCache &programs);

  void load(const Phase &phase);
  bool has(const std::string &phase) const { return phases_.count(phase); }
  int64_t dispatches(const std::string &phase) const;

  void start_profile();         // of all that runs from here on, dispatch by dispatch
  std::string take_profile();   // waits for it; see Profile::json

  // Enqueues the phase; `symbols` are the host's values, which launch sizes are computed from.
  void run(const std::string &phase, const std::vector<int64_t> &symbols);

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
  Launch load_step(const Step &step, const LoadedPhase &loaded);
  void bind(const Step &step, const LoadedPhase &loaded, cl::Kernel kernel) const;
  void enqueue(const Launch &launch);
  void size_grids(LoadedPhase &loaded, const std::vector<int64_t> &symbols) const;

  const Plan &plan_;
  Device &device_;
  const Memory &memory_;
  ProgramCache &programs_;
  std::map<size_t, Build> builds_;  // by program
  std::map<std::string, LoadedPhase> phases_;
  std::set<std::string> noted_;
  std::unique_ptr<Profile> profile_;  // while one is taken
};

}  // namespace pocket
