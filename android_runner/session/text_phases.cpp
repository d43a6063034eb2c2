#include "session/text_phases.h"

#include <algorithm>

#include "base/failure.h"

namespace pocket {

const Phase &TextPhases::choosing(int64_t count, int64_t past) const {
  return find(roles_.ids, count, past, 1);
}

const Phase &TextPhases::scoring(int64_t count, int64_t past) const {
  return find(roles_.logits, count, past, count);
}

// The loader makes sure that the plan has one; only one that was not loaded can be missing.
const Phase &TextPhases::find(size_t buffer, int64_t count, int64_t past, int64_t rows) const {
  const Phase *found =
      choice_.find(buffer, {{roles_.seq, count}, {roles_.past, past}, {roles_.rows, rows}});
  if (found) return *found;
  throw Failure("no phase is loaded for " + std::to_string(count) + " tokens at position " +
                    std::to_string(past),
                "none of those that are has bounds that hold", "name more of them in --phases");
}

int64_t TextPhases::piece(int64_t tokens) const {
  const int64_t count = std::min(tokens, choosing_chunk());
  return count <= short_ ? 1 : count;
}

int64_t TextPhases::chunk(size_t buffer) const {
  return std::min(most_, choice_.longest(buffer, roles_.seq));
}

}  // namespace pocket
