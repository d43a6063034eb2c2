#include "opencl/linker.h"

#include <unistd.h>

#include <cstdlib>

#include "base/failure.h"

namespace pocket {
namespace {

bool on_the_path(const std::string &program) {
  const char *const path = getenv("PATH");
  for (std::string rest = path ? path : ""; !rest.empty();) {
    const std::string folder = rest.substr(0, rest.find(':'));
    if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
    rest.erase(0, folder.size() + 1);
  }
  return false;
}

}  // namespace

void check_linker(const DeviceFacts &device) {
  if (device.platform_name != "Portable Computing Language" || on_the_path("ld")) return;
  throw Failure("PoCL cannot build kernels here",
                "it links them with `ld`, which is not on the PATH",
                "apt-get install binutils, and check that PATH has the folder of `ld`");
}

}  // namespace pocket
