#include "waves/cores.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/failure.h"
#include "base/files.h"

namespace pocket {
namespace {

// By the kernel's own measure, or else the clock; 0: it tells neither.
long speed_of(size_t core) {
  const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(core);
  for (const char *name : {"/cpu_capacity", "/cpufreq/cpuinfo_max_freq"}) try {
      return atoi(read_file(folder + name).c_str());
    } catch (const Failure &) {  // not every kernel has it, and not every program may look
    }
  return 0;
}

std::vector<size_t> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<size_t> cores;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (size_t i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set)) cores.push_back(i);
  return cores;
}

}  // namespace

std::vector<size_t> fast_cores() {
  std::vector<size_t> cores = allowed_cores();
  std::vector<long> speeds;
  for (const size_t core : cores) speeds.push_back(speed_of(core));
  const long fastest = speeds.empty() ? 0 : *std::max_element(speeds.begin(), speeds.end());
  std::vector<size_t> found;
  for (size_t i = 0; i < cores.size(); ++i)
    if (2 * speeds[i] >= fastest) found.push_back(cores[i]);
  return found;
}

void keep_to(const std::vector<size_t> &cores) {
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const size_t core : cores) CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace pocket
