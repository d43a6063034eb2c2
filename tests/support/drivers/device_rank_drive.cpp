// Of the devices in stdin's lines (platform, CPU or not, driver, name; between tabs) prints the
// number of the best one. Arguments: part of its name, and whether it is for a CPU.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "opencl/device_rank.h"

int main(int, char **words) {
  using namespace pocket;
  const bool for_cpu = words[2] == std::string("cpu");
  int best = -1, number = 0;
  decltype(rank_of("", false, "", false)) most;
  for (std::string line; std::getline(std::cin, line); ++number) {
    std::string platform, kind, driver, name;
    std::istringstream parts(line);
    for (std::string *part : {&platform, &kind, &driver, &name}) std::getline(parts, *part, '\t');
    if (!is_named(platform + ", " + name, words[1])) continue;
    const auto rank = rank_of(platform, kind == "cpu", driver, for_cpu);
    if (best >= 0 && rank <= most) continue;
    best = number;
    most = rank;
  }
  printf("%d\n", best);
}
