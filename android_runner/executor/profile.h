// When each kernel ran, by the device's own clock: the events of profiled dispatches.
#pragma once
#include <string>
#include <vector>

#include "opencl/cl_api.h"
#include "plan/plan.h"

namespace pocket {

class Profile {
 public:
  void begin(const std::string &phase);  // the dispatches that follow are one run of this phase
  void add(const Step &step, const std::string &kernel, cl::Event event);

  // A JSON list of {run, phase, name, kernel, queued, submitted, started, ended}; times in
  // nanoseconds. Every event must have finished.
  std::string json() const;

 private:
  struct Entry {
    size_t run;
    std::string kernel;
    const Step *step;
    cl::Owned<cl::Event> event;
  };
  std::vector<std::string> runs_;  // their phases
  std::vector<Entry> entries_;
};

}  // namespace pocket
