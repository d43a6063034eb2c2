#include "system.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace pocket {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int64_t peak_rss_bytes() {
  FILE *file = fopen("/proc/self/status", "r");
  if (!file) return 0;
  char line[256];
  int64_t kilobytes = 0;
  while (fgets(line, sizeof line, file))
    if (strncmp(line, "VmHWM:", 6) == 0) kilobytes = strtoll(line + 6, nullptr, 10);
  fclose(file);
  return kilobytes * 1024;
}

}  // namespace pocket
