// Runs Pace by lines of stdin: `start PLAIN_US FAST_US`, then per step `step` (which prints its way)
// and `took US`; `json` prints what it would tell.
#include <cstdio>
#include <iostream>
#include <string>

#include "executor/mode_switch.h"

int main() {
  using namespace pocket;
  Pace pace;
  double a = 0, b = 0;
  for (std::string word; std::cin >> word;) {
    if (word == "start") {
      std::cin >> a >> b;
      pace.measured(Way::Plain, 1e-6 * a);
      pace.measured(Way::Cooperative, 1e-6 * b);
      pace.choose(b < a ? Way::Cooperative : Way::Plain, "measured");
      pace.watch(Way::Cooperative);
    } else if (word == "step") {
      puts(name_of(pace.next()));
    } else if (word == "took") {
      std::cin >> a;
      pace.took(1e-6 * a);
    } else if (word == "skip") {
      pace.skip();
    } else if (word == "settled") {
      pace.settled();
    } else {
      puts(pace.json().c_str());
    }
    fflush(stdout);
  }
}
