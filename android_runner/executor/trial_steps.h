// Steps of a phase that run for no text: to be timed, and to see what they compute.
#pragma once
#include <string>
#include <vector>

#include "executor/phase_runner.h"

namespace pocket {

// How the steps of a recordable phase follow each other: what the executor itself doesn't know.
struct StepPattern {
  size_t position;              // the symbol that each step moves on by one
  size_t chosen;                // a buffer whose first 4 bytes are read after each step
  std::vector<size_t> results;  // the buffers that a step must leave alike in every launch mode
  int64_t compared_bytes;       // of each of them, at most
};

class TrialSteps {
 public:
  TrialSteps(const Plan &plan, const Device &device, const Memory &memory, PhaseRunner &runner,
             const StepPattern &pattern)
      : plan_(plan), device_(device), memory_(memory), runner_(runner), pattern_(pattern) {}

  // Seconds per step, from the phase's first position on.
  double run(BoundPhase &phase, LaunchMode mode, int64_t steps);
  int64_t most(const BoundPhase &phase) const;  // steps that the phase has positions for

  // What so many steps leave in the results, of buffers that are clear before.
  std::string results(BoundPhase &phase, LaunchMode mode, int64_t steps);
  void clear() const { memory_.clear(device_); }

 private:
  void write_symbols(const std::vector<int64_t> &symbols) const;

  const Plan &plan_;
  const Device &device_;
  const Memory &memory_;
  PhaseRunner &runner_;
  const StepPattern &pattern_;
};

}  // namespace pocket
