#include "opencl/device_rank.h"

#include <cctype>
#include <cstdlib>

namespace pocket {
namespace {

constexpr size_t COMPARED = 2;  // numbers of a version: builds of one version are alike

bool is_digit(char c) { return isdigit(static_cast<unsigned char>(c)); }

std::string lower(std::string text) {
  for (char &c : text) c = static_cast<char>(tolower(static_cast<unsigned char>(c)));
  return text;
}

// "3.1+debian" gives {3, 1}: a newer driver compares greater.
std::vector<long> numbers(const std::string &version) {
  std::vector<long> found;
  const char *at = version.c_str();
  while (*at && found.size() < COMPARED) {
    if (!is_digit(*at)) {
      ++at;
      continue;
    }
    char *end = nullptr;
    found.push_back(strtol(at, &end, 10));
    at = end;
  }
  return found;
}

}  // namespace

bool is_named(const std::string &name, const std::string &wanted) {
  return lower(name).find(lower(wanted)) != std::string::npos;
}

std::tuple<bool, bool, std::vector<long>> rank_of(const std::string &platform, bool is_cpu,
                                                  const std::string &driver, bool for_cpu) {
  return {platform != "Oclgrind", is_cpu == for_cpu, numbers(driver)};
}

}  // namespace pocket
