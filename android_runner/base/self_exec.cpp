#include "base/self_exec.h"

#include <unistd.h>

#include <cstdlib>

namespace pocket {

std::string own_program() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  const std::string found(path, size > 0 ? static_cast<size_t>(size) : 0);
  return access(found.c_str(), X_OK) == 0 ? found : "/proc/self/exe";  // replaced since the start
}

void restart_among_vendor_libraries(char **words) {
  const char *const chosen = getenv("POCKETCL_VENDOR_LIBS"), *const now = getenv("LD_LIBRARY_PATH");
  const std::string folders = chosen ? chosen : "/vendor/lib64:/system/vendor/lib64";
  const std::string before = now ? now : "";
  if (access(folders.substr(0, folders.find(':')).c_str(), X_OK) != 0) return;
  if (before.compare(0, folders.size(), folders) == 0) return;
  setenv("LD_LIBRARY_PATH", (folders + (before.empty() ? "" : ":" + before)).c_str(), 1);
  execv(own_program().c_str(), words);
}

}  // namespace pocket
