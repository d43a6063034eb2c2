// The gathers of a run that are decided: the first is computed, and what those after it need is read
// meanwhile. Which records a gather takes that needs all of them is known before the run comes to
// it; the machine decides in the plan's order all the same, so that nothing hangs on timing.
#pragma once
#include <deque>
#include <functional>
#include <utility>

#include "gather/gathering.h"

namespace pocket {

class GathersAhead {
 public:
  // `is_open`: whether what a table begins with has come; nothing is decided ahead before.
  GathersAhead(const Plan &plan, Machine &machine, GatherMemory &memory, IoPool &pool,
               ReadAhead &ahead, Overlap overlap, std::function<bool(size_t table)> is_open)
      : plan_(plan),
        machine_(machine),
        memory_(memory),
        pool_(pool),
        ahead_(ahead),
        overlap_(overlap),
        is_open_(std::move(is_open)) {}

  // A run with these gathers, in order: uses of records are those of this step. Begins to read.
  void begin(const std::vector<const GatherStep *> &gathers, int64_t step);
  // The run's next gather, which is decided by these scores where it is not yet.
  Gathering &next(const GatherStep &gather, const Scores &scores, std::optional<Glimpse> glimpse,
                  std::vector<int32_t> left);
  // What is decided, or can be, is read as far as there are places for it.
  void read();
  void ended() { decided_.pop_front(); }  // the gather that was next
  // After a failure: nothing is read any more, and what was to come is in no slot.
  void abandon(const Device &device);

 private:
  void decide(const GatherStep &gather, const Scores &scores, std::optional<Glimpse> glimpse = {},
              std::vector<int32_t> left = {});
  bool can_decide() const;

  const Plan &plan_;
  Machine &machine_;
  GatherMemory &memory_;
  IoPool &pool_;
  ReadAhead &ahead_;
  const Overlap overlap_;
  const std::function<bool(size_t)> is_open_;
  int64_t step_ = 0;
  std::deque<const GatherStep *> coming_;  // not decided yet
  std::deque<Gathering> decided_;
};

}  // namespace pocket
