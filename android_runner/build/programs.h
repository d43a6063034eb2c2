// The programs of a plan on a device: from the cache, built here, or built in worker processes
// first.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "build/compile_pool.h"
#include "build/journal.h"
#include "build/program_cache.h"
#include "plan/plan.h"

namespace pocket {

struct BuildOptions {
  std::string workers = "auto";  // whether they build programs: auto, on or off
  // How to start a worker, up to where the plan is named; empty: in this process only. An app has
  // no program of its own that could be one.
  std::vector<std::string> command;
  double limit_s = 180;    // for one program in a worker
  bool retry_bad = false;  // build also what this driver died of
};

class Programs {
 public:
  Programs(const Plan &plan, const Device &device, const ProgramCache &cache, Journal &journal,
           BuildOptions options);

  struct Build {
    cl::Owned<cl::Program> program;
    std::string log;  // why there is none
  };
  const Build &get(size_t program);

  // Has those of these programs built by workers that are not in the cache yet.
  void build_ahead(const std::vector<size_t> &programs);
  bool hopeless(size_t program) { return !reason(program).empty(); }
  // What a self-test found out, for this driver: that the program computes what the compiler did, or
  // something else; it is not used then.
  bool distrusts_driver() const { return remembers_crashes_; }
  bool proven(size_t program);
  void prove(size_t program);
  void reject(size_t program, const std::string &why);
  bool rejected(size_t program) const { return rejected_.count(program) > 0; }
  std::string name(size_t program) const { return plan_.program_name(program); }

  // Notes what is about to be done with the program, or with the plan, until journal().done().
  void risk(Journal::Task task, size_t program, const std::string &what);
  void risk(const std::string &what);
  // How an earlier process died of that; empty where it didn't.
  std::string crash_of(const std::string &what) const { return remembered(key_of(what)); }
  Journal &journal() const { return journal_; }

  int built = 0, cached = 0;

 private:
  const std::string &key(size_t program);
  std::string reason(size_t program);
  std::string key_of(const std::string &what) const {
    return cache_.key({plan_.digest + what, ""});
  }
  std::string remembered(const std::string &key) const;
  void learn(size_t program, const Outcome &outcome);
  void note_risk(Journal::Task task, const std::string &key, const std::string &what);
  bool load(size_t program);
  Build make(size_t program);

  const Plan &plan_;
  const DeviceFacts &facts_;
  const ProgramCache &cache_;
  Journal &journal_;
  const BuildOptions options_;
  const bool uses_workers_, remembers_crashes_;
  bool alone_ = false;  // no worker could be started
  std::map<size_t, Build> builds_;
  std::map<size_t, std::string> keys_;
  std::map<size_t, std::string> reasons_;  // why a program isn't to be used, of those tried
  std::set<size_t> proven_, rejected_;
  std::set<size_t> fresh_;                 // built by workers of this process
};

}  // namespace pocket
