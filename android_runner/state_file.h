// A text and the states that belong to it, in a file that both executors read and write;
// toolkit/state_file.py describes the format.
#pragma once
#include <string>
#include <vector>

#include "memory.h"

namespace pocket {

// The text that the states hold: the id at every position that was fed, and how far they were
// filled: a ring keeps what lay behind a rewind.
struct Held {
  std::vector<cl::Int> ids;
  int64_t reached = 0;

  void feed(const cl::Int *fed, size_t count, int64_t past);
  void reach(int64_t past, int64_t count);
};

// The first `past` positions; `note` is a JSON object of the caller's, or empty.
void save_state(const std::string &path, const Plan &plan, const Device &device,
                const Memory &memory, const Held &held, int64_t past, const std::string &note);

// Nothing on the device changes unless the file is whole and of this plan.
Held load_state(const std::string &path, const Plan &plan, const Device &device,
                const Memory &memory);

}  // namespace pocket
