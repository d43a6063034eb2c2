// Runs a plan by four verbs: bind symbols, write, run a phase, read. It knows the plan, its
// symbols, buffers and phases, and nothing of what they mean; a language model stands on top
// (session/).
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "executor/mode_trial.h"
#include "executor/self_test.h"

namespace pocket {

class Executor {
 public:
  Executor(const Plan &plan, Device &device, const Memory &memory, Programs &programs,
           double budget_s, Gatherer *gatherer)
      : plan_(plan),
        device_(device),
        memory_(memory),
        programs_(programs),
        runner_(plan, device, memory, programs, budget_s, gatherer) {}

  void load(const std::vector<const Phase *> &phases, bool cooperative);
  // After `load` and before anything runs: whether the driver builds kernels right; then, how
  // recordable phases are launched.
  void test_kernels() {
    if (programs_.distrusts_driver())
      SelfTest(plan_, device_, memory_, programs_, runner_).run();
  }
  void choose_modes(const ModeWishes &wishes, const StepPattern &pattern);

  // One value per symbol, in the order of the plan; a vector has it in all its elements, or those
  // that are given.
  void bind(const std::vector<int64_t> &symbols, const Vectors &vectors = {});
  // A phase that ran last has given the symbol this value itself.
  void advance(size_t symbol, int64_t value) { symbols_[symbol] = value; }

  void write(size_t buffer, size_t offset, const void *data, size_t bytes) const;
  template <class T>
  void write(size_t buffer, size_t first, const std::vector<T> &values) const {
    write(buffer, first * sizeof(T), values.data(), values.size() * sizeof(T));
  }

  // Enqueues it; `take` gets each buffer where the phase hands it over. As PhaseRunner::run.
  void run(const Phase &phase, const PhaseRunner::Take &take = {}, bool chooses = true);

  // After all that runs now. `read_later` returns at once; `into` is filled when its answer says
  // so.
  void read(size_t buffer, size_t offset, void *into, size_t bytes);
  PendingRead read_later(size_t buffer, size_t offset, void *into, size_t bytes) const;
  void wait() const { device_.wait(); }

  // How long runs of a phase took, in their order: what the choice of launch modes goes by.
  // Reads of flash, which each mode waits for, are not of them.
  void took(const Phase &phase, double seconds) {
    runner_.bound(phase).modes.took(std::max(0.0, seconds - new_waits_s()));
  }
  void skip(const Phase &phase) {
    new_waits_s();
    runner_.bound(phase).modes.skip();
  }
  void settled(const Phase &phase) { runner_.bound(phase).modes.settled(); }

  void start_profile() { runner_.start_profile(); }
  std::string take_profile() { return runner_.take_profile(); }
  void start_halves() { runner_.start_halves(); }
  std::string take_halves() { return runner_.take_halves(); }

  // Of a plan with tables, when no run is under way: what it may take of memory, in bytes, from here
  // on. Answers what it takes. Throws Failure, and changes nothing, where it doesn't run in so little.
  int64_t budget(int64_t bytes);

  // Likewise, after so many tokens: it may go on with more of its weights in memory, or with fewer.
  void govern(int64_t tokens);
  void imitate(const FlashModel &flash);  // another one than until now

  bool gathers(const Phase &phase) const { return !runner_.bound(phase).gathered.empty(); }
  int64_t dispatches(const Phase &phase) const;
  int64_t buffer_bytes(size_t buffer) const { return memory_.buffer_bytes(buffer); }
  std::string modes() const;  // how recordable phases are launched, as JSON
  std::string gathered() const;  // see Gatherer::counts; empty where the plan has no tables

 private:
  Gatherer &gatherer(const std::string &what) const;
  double new_waits_s();  // for reads, since it was asked last
  void renew();
  void renew_after(const Failure &first);
  template <class Change>
  void with_new_slots(const Change &change);

  const Plan &plan_;
  Device &device_;
  const Memory &memory_;
  Programs &programs_;
  PhaseRunner runner_;
  ModeWishes wishes_;    // of launch modes, since they were chosen
  StepPattern pattern_{};
  std::vector<int64_t> symbols_;  // as the host knows them
  double waits_s_ = 0;            // for reads, when it was asked last
};

}  // namespace pocket
