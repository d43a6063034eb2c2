// A plan that is loaded on a device and ready to run: what the line protocol and the C API stand
// on.
#pragma once
#include <string>
#include <vector>

#include "journal.h"
#include "programs.h"
#include "session.h"

namespace pocket {

constexpr const char *VERSION = "0.1.0";

struct EngineOptions {
  std::string plan;                                     // its folder
  std::string library, platform;                        // empty: those that are found
  std::string cache;                                    // of program binaries; empty: none
  std::string phases = "prefill,decode";                // these two are always among them
  std::string recorded = "auto", cooperative = "auto";  // auto, on or off
  std::string priority = "normal";                      // low, normal or high
  int64_t flush = -1;            // dispatches until the driver is given them; -1: by device
  bool profile = false;          // queues that tell when each kernel ran
  std::string journal;           // a file; empty: in the cache
  bool watch_crashes = false;    // crash signals leave their name in the journal (a program only)
  std::string program;           // one that builds as a child (--build); empty: none is started
  BuildOptions builds;           // less the command
};

class Engine {
 public:
  explicit Engine(const EngineOptions &options);  // throws Failure
  ~Engine();                                      // waits for what is under way
  Engine(const Engine &) = delete;

  const Plan &plan() const { return plan_; }
  Session &session() { return session_; }
  std::string facts() const;  // of the device and of the load, as JSON

 private:
  const double start_;
  const Plan plan_;
  const std::vector<const Phase *> phases_;
  const std::string library_;  // loaded before the device is looked for
  Device device_;
  const ProgramCache cache_;
  Journal journal_;
  const Memory memory_;
  Programs programs_;
  Executor executor_;
  Session session_;
  double load_s_ = 0;
};

// The child's side of a load whose programs are built by children: until the end of its input.
void serve_builds(const EngineOptions &options);

}  // namespace pocket
