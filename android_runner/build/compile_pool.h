// Builds programs in worker processes: a driver that dies or hangs in its compiler takes only the
// worker with it. And several at once, since a compiler uses one core.
//
// A worker is this very program with --build: it says that it is ready, takes numbers of programs
// from its stdin, one by one, and leaves binaries in the cache.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "build/program_cache.h"
#include "plan/plan.h"

namespace pocket {

struct Outcome {
  enum Kind {
    Built,
    Refused,      // the driver said no
    Died,         // the driver crashed, left the process or took too long
    Interrupted,  // the worker was killed from outside, perhaps for want of memory
    Untried,      // no worker could be started
  } kind;
  std::string how;      // "was killed by SIGSEGV"
  std::string chatter;  // the last lines that the driver printed
};

class CompilePool {
 public:
  // `command`: how to start a worker. `limit_s`: for one program.
  CompilePool(std::vector<std::string> command, double limit_s)
      : command_(std::move(command)), limit_s_(limit_s) {}

  // What became of each of these programs of the plan; the first ones are begun first.
  std::map<size_t, Outcome> build(const std::vector<size_t> &programs) const;

 private:
  const std::vector<std::string> command_;
  const double limit_s_;
};

// The worker's side, until the end of its input.
void serve_builds(const Plan &plan, const Device &device, const ProgramCache &cache);

ProgramText text_of(const Plan &plan, size_t program);

}  // namespace pocket
