// A text and the states that belong to it, in a file that both executors read and write;
// toolkit/plan/state_file.py describes the format.
#pragma once
#include <string>

#include "executor/executor.h"
#include "session/history.h"

namespace pocket {

// The first `past` positions; `note` is a JSON object of the caller's, or empty.
void save_state(const std::string &path, const Plan &plan, Executor &executor,
                const History &history, int64_t past, const std::string &note);

// Nothing on the device changes unless the file is whole and of this plan.
void load_state(const std::string &path, const Plan &plan, const Executor &executor,
                History &history);

}  // namespace pocket
