// The point that a run keeps to: one of the plan's, or between them as memory has room.
// toolkit/offload/points.py has the same.
#pragma once
#include <optional>

#include "plan/plan.h"

namespace pocket {

// The plan's last point; or with `memory` bytes the one that takes most of those that fit, its slots
// grown towards the next one's, or all records, as far as there is room. Below the first point its
// slots shrink, each table's by the same share. Throws Failure where there is room for less than
// none.
Point choose_point(const Plan &plan, std::optional<int64_t> memory);

// Of so many records of each table.
int64_t slot_bytes(const Plan &plan, const std::vector<int64_t> &slots);

}  // namespace pocket
