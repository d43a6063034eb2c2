// Builds programs, and keeps their binaries in a folder from one start to the next.
//
// An entry is named by the SHA-256 of everything that its content depends on and carries its own
// checksum, because drivers take damaged binaries without a word. Whatever is wrong with an entry,
// the program is built from source.
#pragma once
#include <string>

#include "device.h"

namespace pocket {

class ProgramCache {
 public:
  // An empty folder name: no cache. A folder that can't be written costs only the time to build.
  ProgramCache(std::string folder, const Device &device);

  // The built program, or none; then `log` says why.
  cl::Owned<cl::Program> build(const std::string &text, std::string &log);

  int built = 0, cached = 0;

 private:
  std::string entry(const std::string &text) const;
  cl::Owned<cl::Program> from_binary(const std::string &path) const;
  void store(const std::string &path, cl::Program program) const;

  std::string folder_;
  const Device &device_;
};

std::string default_cache_folder();

}  // namespace pocket
