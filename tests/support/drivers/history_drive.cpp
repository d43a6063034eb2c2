// Runs History by lines of stdin: `plan CONTEXT CHUNK RING`, then `feed PAST
// COUNT`, `reach PAST COUNT`, `fail PAST COUNT`, `append` or `restore COUNT REACHED`. After each
// move it prints how far the states were filled, how many positions are held,
// and which positions can be gone back to.
#include <cstdio>
#include <iostream>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "session/history.h"

namespace {

pocket::Plan plan_of(int64_t context, int64_t chunk, int64_t ring) {
  pocket::Plan plan;
  plan.model.max_context = context;
  plan.model.prefill_chunk = chunk;
  plan.states.push_back({0, "layers.0", "k", "append", 0, ring});
  return plan;
}

} // namespace

int main() {
  std::optional<pocket::History> history;
  int64_t context = 0, a = 0, b = 0;
  for (std::string move; std::cin >> move;) {
    if (move == "plan") {
      std::cin >> context >> a >> b;
      history.emplace(plan_of(context, a, b));
      continue;
    }
    if (move == "append") {
      history->append(7);
    } else {
      std::cin >> a >> b;
      const std::vector<cl::Int> ids(
          static_cast<size_t>(move == "restore" ? a : b), 7);
      if (move == "feed")
        history->feed(ids.data(), ids.size(), a);
      if (move == "fail")
        history->fail(a, b);
      if (move == "reach")
        history->reach(a, b);
      if (move == "restore")
        history->restore(ids, b);
    }
    printf("%ld %ld", static_cast<long>(history->reached()),
           static_cast<long>(history->length()));
    for (int64_t past = 0; past <= context; ++past)
      if (history->holds(past))
        printf(" %ld", static_cast<long>(past));
    printf("\n");
  }
}
