// Whether kernels compute on this driver what the compiler knows that they should: the plan's
// tests, the first time that this driver runs a program. One that computes something else is not
// used again, and the next variant of its dispatches is tested in its place.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "executor/phase_runner.h"

namespace pocket {

class SelfTest {
 public:
  SelfTest(const Plan &plan, const Device &device, const Memory &memory, Programs &programs,
             PhaseRunner &runner);

  // Tests what is bound and isn't proven yet. Every buffer is clear afterwards.
  void run();

 private:
  bool is_edited(const Variant &variant) const;
  bool follows_edited(const KernelTest &test) const;
  bool untested(const BoundDispatch &dispatch) const;
  void test(BoundPhase &phase, BoundDispatch &dispatch, const std::vector<int64_t> &symbols);
  void judge(size_t program);
  void check_weights(const KernelTest &test);
  bool launched(const KernelTest &test, const Variant &variant);
  bool left_by(size_t test);
  void hand_over(const KernelTest &test);
  void fill(const KernelTest &test) const;
  std::string differences(const KernelTest &test) const;
  std::string read(const KernelTest &test, const Runs &runs) const;

  struct Place {
    cl::Memory memory;
    std::string dtype;
  };
  Place place_of(const KernelTest &test, size_t arg) const;
  const Step &step_of(const KernelTest &test) const { return tested_by(plan_, test); }

  const Plan &plan_;
  const Device &device_;
  const Memory &memory_;
  Programs &programs_;
  PhaseRunner &runner_;
  std::vector<const KernelTest *> tests_;  // of each program; none where it has none here
  std::set<size_t> whole_;                 // files whose content is that of the compile
  cl::Owned<cl::Memory> ticket_, slots_, rule_;  // of the last test inside a gather
  bool launched_ = false;                  // anything
};

}  // namespace pocket
