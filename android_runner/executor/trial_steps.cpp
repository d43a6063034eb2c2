#include "executor/trial_steps.h"

#include <algorithm>

#include "base/failure.h"
#include "base/os.h"

namespace pocket {
namespace {

// Whatever is thrown, nothing is under way afterwards that writes to the host.
struct WaitAtEnd {
  const Device &device;
  ~WaitAtEnd() {
    try {
      device.wait();
    } catch (const Failure &) {  // the first failure is the one to report
    }
  }
};

}  // namespace

int64_t TrialSteps::most(const BoundPhase &phase) const {
  const Range range = phase.phase->box[pattern_.position];
  return range.high - range.low + 1;
}

void TrialSteps::write_symbols(const std::vector<int64_t> &symbols) const {
  const std::vector<cl::Int> words = symbol_words(plan_, symbols);
  device_.write(memory_.symbols(), 0, words.data(), 4 * words.size());
}

double TrialSteps::run(BoundPhase &phase, LaunchMode mode, int64_t steps) {
  std::vector<int64_t> symbols = smallest_symbols(plan_, *phase.phase);
  write_symbols(symbols);
  const double start = now();
  PendingRead arrived[2];  // as where a text is decoded: two steps under way, a look at each id
  cl::Int id = 0;
  const WaitAtEnd at_end{device_};
  for (int64_t i = 0; i < steps; ++i) {
    arrived[i % 2].wait();
    runner_.send(phase, symbols, mode);
    arrived[i % 2] = device_.read_later(memory_.buffer(pattern_.chosen), 0, &id, sizeof id);
    ++symbols[pattern_.position];
  }
  device_.wait();
  return (now() - start) / static_cast<double>(steps);
}

std::string TrialSteps::results(BoundPhase &phase, LaunchMode mode, int64_t steps) {
  clear();
  run(phase, mode, steps);
  std::string all;
  for (const size_t buffer : pattern_.results) {
    const int64_t bytes = std::min(memory_.buffer_bytes(buffer), pattern_.compared_bytes);
    std::string content(static_cast<size_t>(bytes), '\0');
    device_.read(memory_.buffer(buffer), 0, content.data(), content.size());
    all += content;
  }
  return all;
}

}  // namespace pocket
