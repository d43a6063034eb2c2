// Runs PhaseChoice by lines of stdin: `new`, then a `phase NAME BUFFER,… LOW
// HIGH …` for each phase
// (`-` where it gives nothing; bounds of seq, past, rows), then `ask BUFFER SEQ
// PAST ROWS`, which prints the phase that answers, or `none`. Buffers are
// numbers.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "plan/phase_choice.h"

namespace {

pocket::Plan no_phases() {
  pocket::Plan plan;
  for (const char *name : {"seq", "past", "rows"})
    plan.symbols.push_back({name, false, {}});
  return plan;
}

pocket::Phase read_phase() {
  pocket::Phase phase;
  std::string gives, buffer;
  std::cin >> phase.name >> gives;
  for (std::istringstream list(gives);
       gives != "-" && std::getline(list, buffer, ',');)
    phase.steps.push_back({pocket::Step::Fetch,
                           0,
                           "",
                           {{pocket::Argument::Buffer, std::stoul(buffer)}},
                           {}});
  for (int i = 0; i < 3; ++i) {
    pocket::Range range{};
    std::cin >> range.low >> range.high;
    phase.box.push_back(range);
  }
  return phase;
}

} // namespace

int main() {
  pocket::Plan plan = no_phases();
  for (std::string word; std::cin >> word;) {
    if (word == "new")
      plan = no_phases();
    if (word == "phase")
      plan.phases.push_back(read_phase());
    if (word != "ask")
      continue;
    size_t buffer = 0;
    int64_t seq = 0, past = 0, rows = 0;
    std::cin >> buffer >> seq >> past >> rows;
    const pocket::PhaseChoice choice(plan, all_phases(plan));
    const pocket::Phase *found =
        choice.find(buffer, {{0, seq}, {1, past}, {2, rows}});
    printf("%s\n", found ? found->name.c_str() : "none");
  }
}
