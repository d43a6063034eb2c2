// Runs ModeSwitch by lines of stdin: `start PLAIN_US FAST_US` (`part` in place of `start`: of trials
// that don't do all that steps do), then per step `step` (which prints
// its mode) and `took US`; `json` prints its facts.
#include <cstdio>
#include <iostream>
#include <string>

#include "executor/mode_switch.h"

int main() {
  using namespace pocket;
  ModeSwitch modes;
  double a = 0, b = 0;
  for (std::string word; std::cin >> word;) {
    if (word == "start" || word == "part") {
      std::cin >> a >> b;
      modes.measured(LaunchMode::Plain, 1e-6 * a);
      modes.measured(LaunchMode::Cooperative, 1e-6 * b);
      modes.choose(b < a ? LaunchMode::Cooperative : LaunchMode::Plain, "measured");
      modes.watch(LaunchMode::Cooperative, word == "start");
    } else if (word == "step") {
      puts(name_of(modes.next()));
    } else if (word == "took") {
      std::cin >> a;
      modes.took(1e-6 * a);
    } else if (word == "skip") {
      modes.skip();
    } else if (word == "anew") {
      modes.forget("other steps");
      modes.watch(LaunchMode::Cooperative, false);
    } else if (word == "settled") {
      modes.settled();
    } else {
      puts(modes.json().c_str());
    }
    fflush(stdout);
  }
}
