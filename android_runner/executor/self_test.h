// Whether kernels compute on this driver what they should, where the plan has no test of them
// (vector_test.h): compilers of phones build some wrong.
//
// Each such program that has another variant is launched once beside it, on the same memory, the first
// time that this driver runs it. What they agree on is taken for right, since hardly any two
// kernels are built wrong alike; one that agrees with no other is not used again. The verdict is
// kept with the program's binary, also where nothing can be compared.
#pragma once
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "executor/phase_runner.h"

namespace pocket {

// What phases are tested with: beyond this all is made up.
struct TestText {
  size_t tokens;  // the buffer of ids
  std::function<std::vector<int64_t>(const Phase &)> symbols;
};

class SelfTest {
 public:
  SelfTest(const Plan &plan, const Device &device, const Memory &memory, Programs &programs,
           PhaseRunner &runner)
      : plan_(plan), device_(device), memory_(memory), programs_(programs), runner_(runner) {}

  // Tests what isn't proven yet in the loaded phases, and replaces what is wrong. Every buffer is
  // clear afterwards.
  void run(const TestText &text);

 private:
  struct Output {
    cl::Memory memory;
    std::string dtype;
    size_t bytes;
  };
  using Contents = std::vector<std::string>;  // of the outputs of a dispatch

  std::vector<size_t> references() const;
  bool untested(const BoundDispatch &dispatch) const;
  bool rejected(const BoundDispatch &dispatch) const;
  using Question = bool (SelfTest::*)(const BoundDispatch &) const;
  bool any(const BoundPhase &phase, Question is) const;
  void test(BoundPhase &phase, const TestText &text);
  void judge_once(const BoundPhase &phase, const BoundDispatch &dispatch,
                  const std::vector<int64_t> &symbols);
  void fill(const TestText &text) const;
  void fill(size_t buffer, uint32_t mask, uint32_t bits) const;
  void run(BoundPhase &phase, const std::vector<int64_t> &symbols);
  void judge(const BoundPhase &phase, const BoundDispatch &dispatch,
             const std::vector<int64_t> &symbols);
  std::vector<Output> outputs(const BoundPhase &phase, const Step &step, bool compared) const;
  Contents read(const std::vector<Output> &outputs) const;
  void write(const std::vector<Output> &outputs, const Contents &contents) const;

  const Plan &plan_;
  const Device &device_;
  const Memory &memory_;
  Programs &programs_;
  PhaseRunner &runner_;
  std::set<size_t> judged_;               // programs, in this phase
  std::map<size_t, std::string> passed_;  // and why
};

}  // namespace pocket
