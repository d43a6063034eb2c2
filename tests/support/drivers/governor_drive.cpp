// Gives the runner's governor what tests/support/governor_cases.py has: a line for its beginning, its
// budget and speeds, and one for each run: tokens, predicted seconds, seconds, the budget that there
// is; `-` for none. Of each run a line: what it goes on with, if it does, and the slowness.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "offload/governor.h"

namespace {

using namespace pocket;

std::optional<int64_t> budget_of(const std::string &word) {
  if (word == "-") return std::nullopt;
  return std::stoll(word);
}

Governor begun(const std::string &line) {
  std::istringstream words(line);
  std::string budget;
  std::vector<double> speeds;
  words >> budget;
  for (double speed; words >> speed;) speeds.push_back(speed);
  return Governor(speeds, {budget_of(budget), 1});
}

void run(Governor &governor, const std::string &line) {
  std::istringstream words(line);
  int64_t tokens = 0;
  double predicted = 0, seconds = 0;
  std::string budget;
  words >> tokens >> predicted >> seconds >> budget;
  std::optional<Governor::Choice> choice;
  if (governor.observe(tokens, predicted, seconds)) choice = governor.decide(budget_of(budget));
  const std::string told = choice && choice->budget ? std::to_string(*choice->budget) : "-";
  if (choice) printf("%s %.17g ", told.c_str(), choice->flash);
  printf("%.17g\n", governor.slowness());
}

}  // namespace

int main() {
  std::string line;
  std::getline(std::cin, line);
  Governor governor = begun(line);
  while (std::getline(std::cin, line)) run(governor, line);
  return 0;
}
