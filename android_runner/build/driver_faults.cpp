#include "build/driver_faults.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <vector>

#include "base/text.h"

namespace pocket {
namespace {

using Version = std::vector<long>;

Version numbers(const std::string &text) {
  Version found;
  for (const std::string &number : pieces(text, "."))
    found.push_back(strtol(number.c_str(), nullptr, 10));
  return found;
}

// "47.18.36" at the beginning of the text; empty where it begins with something else.
std::string leading_version(const std::string &text) {
  size_t end = 0;
  while (end < text.size() &&
         (isdigit(static_cast<unsigned char>(text[end])) || (end && text[end] == '.')))
    ++end;
  return text.substr(0, end);
}

bool needs(const Plan &plan, const Variant &variant, const std::string &name) {
  const Program &program = plan.programs[variant.program];
  const std::vector<std::string> options = pieces(program.options, " "),
                                 &features = variant.requires_;
  return program.kernel == name || std::count(options.begin(), options.end(), name) ||
         std::count(features.begin(), features.end(), name);
}

}  // namespace

bool concerns(const DriverFault &fault, const std::string &driver) {
  const std::string before = "Compiler " + fault.compiler + ".";
  const size_t at = driver.find(before);
  const std::string found =
      at == std::string::npos ? "" : leading_version(driver.substr(at + before.size()));
  if (found.empty()) return false;
  const Version version = numbers(found);
  return !(version < numbers(fault.from)) &&
         (fault.before.empty() || version < numbers(fault.before));
}

std::string known_fault(const Plan &plan, const Variant &variant, const std::string &driver) {
  for (const DriverFault &fault : plan.drivers)
    for (const std::string &name : fault.without)
      if (needs(plan, variant, name) && concerns(fault, driver))
        return "is left out with this driver: " + fault.fault;
  return "";
}

}  // namespace pocket
