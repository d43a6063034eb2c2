// A text and the states that belong to it, in a file that both executors read and write;
// toolkit/plan/state_file.py describes the format.
#pragma once
#include <string>

#include "executor/memory.h"
#include "session/history.h"

namespace pocket {

// The first `past` positions; `note` is a JSON object of the caller's, or empty.
void save_state(const std::string &path, const Plan &plan, const Device &device,
                const Memory &memory, const Held &held, int64_t past, const std::string &note);

// Nothing on the device changes unless the file is whole and of this plan.
Held load_state(const std::string &path, const Plan &plan, const Device &device,
                const Memory &memory);

}  // namespace pocket
