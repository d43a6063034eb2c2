// What a text may be for a plan; the Python executors check the same
// (toolkit/executors/text_checks.py).
#pragma once
#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace pocket {

// Throws Failure unless these ids, as many of each text of a batch, can be fed at this position.
void check_tokens(const Plan &plan, const std::vector<int64_t> &ids, int64_t past);

bool is_id(const Plan &plan, int64_t id);

// The id that the device chose after position `past`; throws Failure where its logits were no
// numbers.
int64_t checked_id(const Plan &plan, int64_t id, int64_t past);

// Throws Failure where a buffer has fewer bytes, in the phases that are loaded, than a text needs.
void need_room(const Plan &plan, size_t buffer, int64_t has, int64_t needed);

}  // namespace pocket
