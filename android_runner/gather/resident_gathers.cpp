#include "gather/resident_gathers.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "gather/tickets.h"

namespace pocket {
namespace {

constexpr size_t COUNTED = 2;  // of a rule's ints: how many were chosen

bool depends_on(const Expr &size, size_t symbol) {
  return std::any_of(size.begin(), size.end(), [&](const Token &token) {
    return token.op == Token::Symbol && static_cast<size_t>(token.value) == symbol;
  });
}

// Their symbol is the one after the plan's.
bool counts_records(const Plan &plan, const Step &dispatch) {
  for (const Variant &variant : dispatch.variants)
    for (const Expr &size : variant.global)
      if (depends_on(size, plan.symbols.size())) return true;
  return false;
}

int64_t most_records(const Plan &plan) {
  int64_t most = 0;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.gather && !step.gather->choose.empty())
        most = std::max(most, plan.tables[step.gather->table].count);
  return most;
}

}  // namespace

ResidentGathers::ResidentGathers(const Plan &plan, const Point &point, const Device &device)
    : device_(device),
      ticket_(device.buffer(static_cast<size_t>(Tickets::bytes(most_records(plan))), "a ticket")) {
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps) {
      if (!step.gather) continue;
      const int32_t words[RULE_INTS] = {
          static_cast<int32_t>(plan.tables[step.gather->table].count)};
      rules_.push_back(device.buffer(sizeof words, "a rule"));
      device.write(rules_.back().get(), 0, words, sizeof words);
      if (!step.gather->whole || whole_.count(words[0])) continue;
      const int32_t head[Tickets::HEAD] = {words[0], 1, 1};
      auto made = device.buffer(sizeof head, "a ticket");
      device.write(made.get(), 0, head, sizeof head);
      whole_.emplace(words[0], std::move(made));
    }
  follow(plan, point);
}

void ResidentGathers::follow(const Plan &plan, const Point &point) {
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps) {
      if (!step.gather) continue;
      const size_t number = step.gather->number;
      const auto threshold =
          static_cast<float>(at_point(step.gather->select, point.select[number]).threshold);
      device_.write(rules_[number].get(), sizeof threshold, &threshold, sizeof threshold);
    }
}

bool ResidentGathers::possible(const Plan &plan, const GatherStep &gather) {
  return (!gather.choose.empty() || gather.whole) &&
         std::none_of(gather.dispatches.begin(), gather.dispatches.end(),
                      [&](const Step &each) { return counts_records(plan, each); });
}

cl::Memory ResidentGathers::ticket(const Plan &plan, const GatherStep &gather) const {
  return gather.choose.empty() ? whole_.at(plan.tables[gather.table].count).get() : ticket_.get();
}

int64_t ResidentGathers::taken(const Plan &plan, const GatherStep &gather) {
  if (!gather.choose.empty()) return 0;
  return gather.select.by == Select::Ids ? 1 : plan.tables[gather.table].count;
}

int64_t ResidentGathers::chosen() const {
  int64_t sum = 0;
  for (const auto &rule : rules_) {
    int32_t count = 0;
    device_.read(rule.get(), COUNTED * sizeof count, &count, sizeof count);
    sum += static_cast<uint32_t>(count);
  }
  return sum;
}

void ResidentGathers::forget() {
  const int32_t none = 0;
  for (const auto &rule : rules_)
    device_.write(rule.get(), COUNTED * sizeof none, &none, sizeof none);
}

}  // namespace pocket
