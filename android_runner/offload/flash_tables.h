// Of a plan's tables: the index of each record.
#pragma once
#include <vector>

#include "plan/plan.h"

namespace pocket {

// Of each table the index of each record; empty where it is the record's number. Throws Failure where
// two records have the same.
std::vector<std::vector<int32_t>> orders_of(const Plan &plan);

}  // namespace pocket
