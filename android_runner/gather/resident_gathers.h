// Gathers whose table lies in memory whole, each record in the slot of its number: their dispatches
// are launched like any others. A kernel of the plan fills the ticket, by a rule that is written once,
// so that nobody waits for the host; where all records are needed, or the one of an id that kernels
// read themselves, the ticket is always the same.
#pragma once
#include <map>
#include <vector>

#include "opencl/device.h"
#include "plan/plan.h"

namespace pocket {

// Its rule, as kernels read it: i32 of how many records the table has, the threshold's bits, how many
// were chosen so far, 0.
class ResidentGathers {
 public:
  ResidentGathers(const Plan &plan, const Point &point, const Device &device);

  void follow(const Plan &plan, const Point &point);  // its numbers, from the next launch on

  void use(const Plan &plan, const Point &point) const;  // another one from the next launch on

  // Whether launches of the gather are the same each time where all records are in memory.
  static bool possible(const Plan &plan, const GatherStep &gather);

  cl::Memory rule(const GatherStep &gather) const { return rules_[gather.number].get(); }
  cl::Memory ticket(const Plan &plan, const GatherStep &gather) const;

  // Records that a run of it takes without a choice, which nobody counts on the device.
  static int64_t taken(const Plan &plan, const GatherStep &gather);

  // Records that have been chosen so far; of those before `forget` there are none.
  int64_t chosen() const;
  void forget();

 private:
  const Device &device_;
  cl::Owned<cl::Memory> ticket_;  // of choices
  std::map<int64_t, cl::Owned<cl::Memory>> whole_;  // of whole tables, by their records
  std::vector<cl::Owned<cl::Memory>> rules_;  // of each gather, in the order of phases and steps
};

}  // namespace pocket
