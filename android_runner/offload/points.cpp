#include "offload/points.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/failure.h"

namespace pocket {
namespace {

int64_t share_of(int64_t count, double share) {
  return static_cast<int64_t>(static_cast<double>(count) * share);
}

double ratio(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

template <class Which>
std::set<size_t> tables_where(const Plan &plan, const Which &which) {
  std::set<size_t> found;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.gather && which(*step.gather)) found.insert(step.gather->table);
  return found;
}

// Of which at some gather only some records are read.
std::set<size_t> chosen_tables(const Plan &plan) {
  return tables_where(plan, [](const GatherStep &gather) { return gather.select.by != Select::All; });
}

// Rows of embeddings: those of a text's ids. Experts' are computed.
std::set<size_t> tables_by_ids(const Plan &plan) {
  return tables_where(plan, [](const GatherStep &gather) {
    return gather.select.by == Select::Ids && gather.from->kind == Argument::Buffer;
  });
}

// With other slots, if they are. Pinned stay those of a table that is always read whole, of policy
// static, and of others as many as there were; and all, where there is room for all.
Point resized(const Plan &plan, Point point, std::vector<int64_t> slots) {
  if (slots == point.slots) return point;
  const bool is_static = point.policy == "static";
  const std::set<size_t> chosen = is_static ? std::set<size_t>() : chosen_tables(plan);
  point.memory += slot_bytes(plan, slots) - slot_bytes(plan, point.slots);
  point.slots = std::move(slots);
  for (size_t i = 0; i < point.slots.size(); ++i) {
    const bool some = chosen.count(i) && point.slots[i] < plan.tables[i].count;
    point.pinned[i] = some ? std::min(point.pinned[i], point.slots[i]) : point.slots[i];
    point.dense[i] = std::min(point.dense[i], point.pinned[i]);
  }
  return point;
}

// As many more as there is room for; rows that ids choose come last: a token needs one.
std::vector<int64_t> grown(const Plan &plan, const std::vector<int64_t> &slots,
                           const std::vector<int64_t> &goal, int64_t room) {
  const std::set<size_t> rows = tables_by_ids(plan);
  std::vector<int64_t> found = slots;
  for (const bool last : {false, true}) {
    std::vector<int64_t> more(slots.size(), 0);
    for (size_t i = 0; i < slots.size(); ++i)
      if ((rows.count(i) > 0) == last) more[i] = std::max(int64_t{0}, goal[i] - slots[i]);
    const int64_t whole = slot_bytes(plan, more);
    const double share = whole ? std::min(1.0, ratio(room, whole)) : 0;
    for (int64_t &each : more) each = share_of(each, share);
    for (size_t i = 0; i < slots.size(); ++i) found[i] += more[i];
    room -= slot_bytes(plan, more);
  }
  return found;
}

Point shrunk(const Plan &plan, const Point &point, int64_t memory) {
  const int64_t held = slot_bytes(plan, point.slots), least = point.memory - held;
  if (memory < least)
    throw Failure("the plan does not run in " + std::to_string(memory) + " bytes",
                  "it takes " + std::to_string(least) + " with no record of its tables in memory",
                  "--memory " + std::to_string(least) + ", or compile it with less memory, or a smaller --max-context");
  std::vector<int64_t> slots;
  for (const int64_t count : point.slots) slots.push_back(share_of(count, ratio(memory - least, held)));
  return resized(plan, point, std::move(slots));
}

// By how many times the one is the other, or the other the one.
double apart(double one, double other) { return std::max(one / other, other / one); }

// Of the speed that is nearest; of two as near the greater.
std::vector<Point> points_for(const Plan &plan, double flash) {
  double nearest = plan.points[0].flash;
  for (const Point &point : plan.points) {
    const auto rank = [&](double speed) { return std::pair(apart(speed, flash), -speed); };
    if (rank(point.flash) < rank(nearest)) nearest = point.flash;
  }
  std::vector<Point> found;
  for (const Point &point : plan.points)
    if (point.flash == nearest) found.push_back(point);
  return found;
}

}  // namespace

int64_t least_memory(const Plan &plan) {
  return plan.points[0].memory - slot_bytes(plan, plan.points[0].slots);
}

std::vector<double> speeds_of(const Plan &plan) {
  std::set<double> speeds;
  for (const Point &point : plan.points) speeds.insert(point.flash);
  return {speeds.begin(), speeds.end()};
}

int64_t slot_bytes(const Plan &plan, const std::vector<int64_t> &slots) {
  int64_t sum = 0;
  for (size_t i = 0; i < slots.size(); ++i) sum += slots[i] * plan.tables[i].bytes;
  return sum;
}

Point choose_point(const Plan &plan, std::optional<int64_t> memory, double flash) {
  const std::vector<Point> points = points_for(plan, flash);
  if (!memory) return points.back();
  size_t fitting = 0;  // they ascend
  while (fitting < points.size() && points[fitting].memory <= *memory) ++fitting;
  if (!fitting) return shrunk(plan, points[0], *memory);
  const Point &base = points[fitting - 1];
  std::vector<int64_t> goal;
  for (size_t i = 0; i < plan.tables.size(); ++i)
    goal.push_back(fitting == points.size() ? plan.tables[i].count : points[fitting].slots[i]);
  std::vector<int64_t> slots = grown(plan, base.slots, goal, *memory - base.memory);
  return resized(plan, base, std::move(slots));
}

}  // namespace pocket
