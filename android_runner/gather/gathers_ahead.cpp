#include "gather/gathers_ahead.h"

#include <algorithm>

namespace pocket {
namespace {

constexpr size_t MOST = 4;  // gathers decided at once: staging has room for the reads of fewer

}  // namespace

void GathersAhead::begin(const std::vector<const GatherStep *> &gathers, int64_t step) {
  step_ = step;
  coming_.assign(gathers.begin(), gathers.end());
  if (overlap_ != Overlap::Off) read();
}

void GathersAhead::decide(const GatherStep &gather, const Scores &scores,
                          std::optional<Glimpse> glimpse, std::vector<int32_t> left) {
  coming_.pop_front();
  const Select rule = at_point(gather.select, machine_.point().select[gather.number]);
  decided_.emplace_back(plan_, gather.table, machine_, memory_, pool_, ahead_, overlap_,
                        machine_.gather(gather.table, rule, scores, step_, gather.tile,
                                        std::move(glimpse), std::move(left)));
  ahead_.expect(gather.table, decided_.back().found().ahead);
}

// Slots of a table change for one gather at a time: the launches of the one before look at them.
bool GathersAhead::can_decide() const {
  if (coming_.empty() || decided_.size() == MOST) return false;
  const GatherStep &next = *coming_.front();
  return next.select.by == Select::All && next.first.empty() && is_open_(next.table) &&
         std::none_of(decided_.begin(), decided_.end(),
                      [&](const Gathering &each) { return each.table() == next.table; });
}

Gathering &GathersAhead::next(const GatherStep &gather, const Scores &scores,
                              std::optional<Glimpse> glimpse, std::vector<int32_t> left) {
  if (decided_.empty()) decide(gather, scores, std::move(glimpse), std::move(left));
  return decided_.front();
}

void GathersAhead::read() {
  for (size_t i = 0;; ++i) {
    if (i == decided_.size() && !can_decide()) return;
    if (i == decided_.size()) decide(*coming_.front(), {});
    if (!decided_[i].submit()) return;
  }
}

// A copy may be under way, also of first parts, of which nothing is decided yet; where the device
// failed, that was reported.
void GathersAhead::abandon(const Device &device) {
  coming_.clear();
  machine_.forget_ahead();
  if (!decided_.empty()) pool_.cancel();
  ahead_.settle();
  try {
    device.wait();
  } catch (const Failure &) {
  }
  for (Gathering &each : decided_) {
    each.settle();
    machine_.lose(each.table(), records_of(each.found().placed.admitted));
  }
  decided_.clear();
  memory_.staging.forget();
}

}  // namespace pocket
