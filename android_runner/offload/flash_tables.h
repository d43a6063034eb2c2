// Of a plan's tables: the index of each record, and what it adds.
#pragma once
#include <vector>

#include "plan/plan.h"

namespace pocket {

// Of each table the index of each record; empty where it is the record's number. Throws Failure where
// two records have the same.
std::vector<std::vector<int32_t>> orders_of(const Plan &plan);

// Of each table by record what it adds on average, as the policy `importance` has it; empty where
// all are alike. Throws Failure where one is no number from 0 on.
std::vector<std::vector<float>> importance_of(const Plan &plan);

}  // namespace pocket
