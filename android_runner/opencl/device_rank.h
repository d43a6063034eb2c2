// Which of several devices is the one to run on. The Python executor has the same rules
// (toolkit/devices/rank.py); one table of devices is held against both.
#pragma once
#include <string>
#include <tuple>
#include <vector>

namespace pocket {

// Whether a device is meant by part of its name, whatever the case; `name` holds the platform's.
bool is_named(const std::string &name, const std::string &wanted);

// The greatest is the best: no checker (Oclgrind runs only where it is named), of the kind that the
// plan is made for (CPU or not), with the newest driver.
std::tuple<bool, bool, std::vector<long>> rank_of(const std::string &platform, bool is_cpu,
                                                  const std::string &driver, bool for_cpu);

}  // namespace pocket
