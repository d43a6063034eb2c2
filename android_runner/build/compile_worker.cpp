// The worker's side of compile_pool.h.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <vector>

#include "base/failure.h"
#include "build/compile_pool.h"
#include "build/device_fit.h"

namespace pocket {
namespace {

// PoCL generates code for a size of work-groups when a kernel is first launched in it, and only
// then it is part of the binary. So every use of the program runs once, at its smallest, on memory
// of its own that is zero.
class Rehearsal {
 public:
  Rehearsal(const Plan &plan, const Device &device, size_t index, cl::Program program)
      : plan_(plan), device_(device), index_(index), program_(program) {}

  void run_every_use() {
    std::set<std::vector<size_t>> seen;
    for (const Phase &phase : plan_.phases) {
      if (phase.cooperative == index_) run_steps();
      for (const Step *step : phase.dispatches())
        for (const Variant &variant : step->variants)
          if (variant.program == index_ && seen.insert(variant.local).second)
            run(phase, *step, variant);
    }
  }

 private:
  // A ticket of no records, and the slots that nothing is read of then.
  static constexpr size_t NOTHING_BYTES = 1024;

  cl::Memory zeros(size_t bytes) {
    const size_t size = (bytes + 3) / 4 * 4;
    memory_.push_back(device_.buffer(size, "a rehearsal"));
    const cl::Memory memory = memory_.back().get();
    device_.fill_zero(memory, size);
    return memory;
  }

  cl::Memory argument(const Phase &phase, const Argument &arg,
                      const std::vector<int64_t> &symbols) {
    if (arg.kind == Argument::Scratch) return zeros(phase.scratch[arg.index].bytes);
    if (arg.kind == Argument::Weight) return zeros(plan_.weights[arg.index].bytes);
    if (arg.kind == Argument::Buffer) return zeros(plan_.buffers[arg.index].bytes);
    if (arg.kind != Argument::Symbols) return zeros(NOTHING_BYTES);
    const std::vector<cl::Int> words = symbol_words(plan_, symbols);
    const cl::Memory memory = zeros(4 * words.size());
    device_.write(memory, 0, words.data(), 4 * words.size());
    return memory;
  }

  cl::Owned<cl::Kernel> kernel(const char *name) const {
    cl::Int code = 0;
    cl::Owned<cl::Kernel> made(cl::CreateKernel(program_, name, &code));
    cl::check(code, "clCreateKernel");
    return made;
  }

  void launch(cl::Kernel kernel, const std::vector<size_t> &global,
              const std::vector<size_t> &local) {
    cl::check(
        cl::EnqueueNDRangeKernel(device_.queue(0), kernel, static_cast<cl::Uint>(local.size()),
                                 nullptr, global.data(), local.data(), 0, nullptr, nullptr),
        "clEnqueueNDRangeKernel");
    device_.wait();
    memory_.clear();
  }

  void run(const Phase &phase, const Step &step, const Variant &variant) {
    auto symbols = smallest_symbols(plan_, phase);
    symbols.push_back(1);  // of a gather's grids: records
    std::vector<size_t> global;
    for (const Expr &size : variant.global) global.push_back(extent(size, symbols));
    if (std::count(global.begin(), global.end(), 0u)) return;
    const auto kernel = this->kernel(plan_.programs[index_].kernel.c_str());
    if (!excess(variant, kernel.get(), device_.facts()).empty()) return;  // PoCL would abort
    for (cl::Uint i = 0; i < step.args.size(); ++i)
      set(kernel.get(), i, argument(phase, step.args[i], symbols));
    launch(kernel.get(), global, variant.local);
  }

  // No ops, so that nothing is read of the table.
  void run_steps() {
    const auto kernel = this->kernel("steps");
    const cl::Int none = 0;
    set(kernel.get(), 0, zeros(8));
    cl::check(cl::SetKernelArg(kernel.get(), 1, sizeof none, &none), "clSetKernelArg");
    set(kernel.get(), 2, zeros(4 * 64));
    launch(kernel.get(), {device_.facts().compute_units}, {1});
  }

  static void set(cl::Kernel kernel, cl::Uint index, cl::Memory memory) {
    cl::check(cl::SetKernelArg(kernel, index, sizeof memory, &memory), "clSetKernelArg");
  }

  const Plan &plan_;
  const Device &device_;
  const size_t index_;
  const cl::Program program_;
  std::vector<cl::Owned<cl::Memory>> memory_;  // of the launch under way
};

void say(const char *word) {
  printf("\nbuild: %s\n", word);  // a line of its own, whatever the driver has printed
  fflush(stdout);
}

bool build(const Plan &plan, const Device &device, const ProgramCache &cache, size_t index) try {
  std::string log;
  const bool pocl = device.facts().platform_name == "Portable Computing Language";
  const auto rehearse = [&](cl::Program program) {
    if (pocl) Rehearsal(plan, device, index, program).run_every_use();
  };
  return bool(cache.build(text_of(plan, index), log, rehearse));
} catch (const Failure &) {
  return false;  // the parent tries again, and reports it
}

}  // namespace

void serve_builds(const Plan &plan, const Device &device, const ProgramCache &cache) {
  say("ready");
  char line[32];
  while (fgets(line, sizeof line, stdin)) {
    const size_t index = strtoul(line, nullptr, 10);
    if (index >= plan.programs.size()) return;
    say(build(plan, device, cache, index) ? "built" : "refused");
  }
}

}  // namespace pocket
