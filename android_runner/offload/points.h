// The point that a run keeps to: one of the plan's, or between them as memory has room.
// toolkit/offload/points.py has the same.
#pragma once
#include <optional>

#include "plan/plan.h"

namespace pocket {

// Of a flash so much slower or faster than the profile's, by the plan's points for the nearest such
// speed: the last one; or with `memory` bytes the one that takes most of those that fit, its slots
// grown towards the next one's, or all records, as far as there is room. Below the first point its
// slots shrink, each table's by the same share. Throws Failure where there is room for less than
// none.
Point choose_point(const Plan &plan, std::optional<int64_t> memory, double flash = 1);

// The least memory that it runs in.
int64_t least_memory(const Plan &plan);

// Speeds of flash that there are points for.
std::vector<double> speeds_of(const Plan &plan);

// Of so many records of each table.
int64_t slot_bytes(const Plan &plan, const std::vector<int64_t> &slots);

}  // namespace pocket
