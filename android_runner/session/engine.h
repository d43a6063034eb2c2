// A plan that is loaded on a device and ready to run: what the line protocol and the C API stand
// on.
#pragma once
#include <string>
#include <vector>

#include "session/session.h"

namespace pocket {

constexpr const char *VERSION = "0.1.0";

struct EngineOptions {
  std::string plan;                                     // its folder
  std::string library, platform;                        // empty: those that are found
  std::string cache;                                    // of program binaries; empty: none
  std::string phases = "prefill,decode";                // those that give ids are always among them
  std::string recorded = "auto", cooperative = "auto";  // auto, on or off
  HintWishes hints;                                     // see queue_priority.h
  std::string journal;         // where risky calls are noted; empty: in the cache's folder
  bool watch_crashes = false;  // crash signals are noted in it, too; not for a library
  bool profile = false;        // queues that tell when each kernel ran
  int slice_us = -1;           // that a device is given at once; 0: all; -1: as suits the device
  BuildOptions builds;
  std::string flash;     // a profile that reads of flash imitate; empty: the storage as it is
  GatherOptions gather;  // of plans with tables
};

class Engine {
 public:
  explicit Engine(const EngineOptions &options);  // throws Failure
  ~Engine();                                      // waits for what is under way
  Engine(const Engine &) = delete;

  const Plan &plan() const { return plan_; }
  Session &session() { return session_; }
  void keep_warm() const;  // what is in memory, for the next start; throws Failure where it can't
  std::string facts() const;  // of the device and of the load, as JSON

 private:
  const double start_;
  const Plan plan_;
  const std::vector<const Phase *> phases_;
  const std::string library_;  // loaded before the device is looked for
  Device device_;
  const GatherOptions gather_;  // with what memory there is
  const Memory memory_;
  const std::unique_ptr<Gatherer> gatherer_;  // none: the plan has no tables
  const ProgramCache cache_;
  Journal journal_;
  Programs programs_;
  Executor executor_;
  Session session_;
  double load_s_ = 0;
};

}  // namespace pocket
