// Of a plan's tables: the point that a run keeps to, and the index of each record.
#pragma once
#include <optional>
#include <vector>

#include "plan/plan.h"

namespace pocket {

// The point that takes most memory, of those that take no more than `memory` bytes. Throws Failure
// where each takes more.
const Point &choose_point(const Plan &plan, std::optional<int64_t> memory);

// Of each table the index of each record; empty where it is the record's number. Throws Failure where
// two records have the same.
std::vector<std::vector<int32_t>> orders_of(const Plan &plan);

}  // namespace pocket
