// Which bytes of a plan's states go into a state file; toolkit/plan/state_file.py describes the
// format.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace pocket {

constexpr int STATE_VERSION = 1;
constexpr const char *STATE_MAGIC = "{\"pocketcl_state\": ";
constexpr const char *SAVE_AGAIN = "save it again";

// Of one state, for the first positions of a text: the same number of bytes at the start of each
// block.
struct SavedRows {
  size_t buffer;
  std::string name;
  int64_t blocks, stride, bytes;
};

std::vector<SavedRows> saved_rows(const Plan &plan, int64_t past);

}  // namespace pocket
