#include "base/os.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace pocket {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

namespace {

// Bytes after a word like "VmHWM:" in a file of /proc, which counts in kB.
int64_t bytes_behind(const char *path, const char *word) {
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  char line[256];
  int64_t kilobytes = 0;
  while (fgets(line, sizeof line, file))
    if (strncmp(line, word, strlen(word)) == 0)
      kilobytes = strtoll(line + strlen(word), nullptr, 10);
  fclose(file);
  return kilobytes * 1024;
}

}  // namespace

int64_t peak_rss_bytes() { return bytes_behind("/proc/self/status", "VmHWM:"); }

int64_t available_bytes() { return bytes_behind("/proc/meminfo", "MemAvailable:"); }

}  // namespace pocket
