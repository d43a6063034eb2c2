#include "plan/phase_choice.h"

#include <algorithm>

namespace pocket {
namespace {

// How many values a phase's bounds leave to its symbols, summed up.
int64_t width(const Plan &plan, const Phase &phase) {
  int64_t sum = 0;
  for (size_t i = 0; i < plan.symbols.size(); ++i)
    if (!plan.symbols[i].length) sum += phase.box[i].high - phase.box[i].low;
  return sum;
}

bool holds(const Phase &phase, std::initializer_list<SymbolValue> values) {
  for (const auto &[symbol, value] : values)
    if (value < phase.box[symbol].low || value > phase.box[symbol].high) return false;
  return true;
}

}  // namespace

PhaseChoice::PhaseChoice(const Plan &plan, std::vector<const Phase *> phases) {
  std::stable_sort(phases.begin(), phases.end(), [&](const Phase *a, const Phase *b) {
    return width(plan, *a) < width(plan, *b);
  });
  for (const Phase *phase : phases)
    for (const Step &step : phase->steps) {
      if (step.kind != Step::Fetch) continue;
      std::vector<const Phase *> &giving = giving_[step.args[0].index];
      if (giving.empty() || giving.back() != phase) giving.push_back(phase);
    }
}

const std::vector<const Phase *> &PhaseChoice::giving(size_t buffer) const {
  static const std::vector<const Phase *> none;
  const auto found = giving_.find(buffer);
  return found == giving_.end() ? none : found->second;
}

const Phase *PhaseChoice::find(size_t buffer, std::initializer_list<SymbolValue> values) const {
  for (const Phase *phase : giving(buffer))
    if (holds(*phase, values)) return phase;
  return nullptr;
}

int64_t PhaseChoice::longest(size_t buffer, size_t symbol) const {
  int64_t most = 0;
  for (const Phase *phase : giving(buffer)) most = std::max(most, phase->box[symbol].high);
  return most;
}

std::vector<const Phase *> all_phases(const Plan &plan) {
  std::vector<const Phase *> phases;
  for (const Phase &phase : plan.phases) phases.push_back(&phase);
  return phases;
}

}  // namespace pocket
