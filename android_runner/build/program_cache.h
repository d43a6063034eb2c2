// Builds programs, and keeps their binaries in a folder from one start to the next; and what is
// known of programs that this driver died of.
//
// An entry is named by the SHA-256 of everything that its content depends on, the driver's version
// too, and carries its own checksum, because drivers take damaged binaries without a word. Whatever
// is wrong with an entry, the program is built from source.
#pragma once
#include <atomic>
#include <functional>
#include <string>

#include "opencl/device.h"

namespace pocket {

// What is built: OpenCL C, and the options of the build with spaces between.
struct ProgramText {
  std::string source, options;
};

class ProgramCache {
 public:
  // An empty folder name: no cache. A folder that can't be written costs only the time to build,
  // and so does one that others can write to, after a note.
  ProgramCache(std::string folder, const Device &device);

  bool usable() const { return !folder_.empty(); }  // files can be written here
  const std::string &folder() const { return folder_; }
  std::string key(const ProgramText &text) const;

  // None where that fails.
  cl::Owned<cl::Program> load(const std::string &key, const std::string &options) const;

  // Builds from source and keeps the binary, after `prepare` if there is one; or none, and then
  // `log` says why.
  using Prepare = std::function<void(cl::Program)>;
  cl::Owned<cl::Program> build(const ProgramText &text, std::string &log,
                               const Prepare &prepare = nullptr) const;

  // What the driver did when it died of this program; empty where that is not known. A crash that
  // begins with ONCE is only suspected: the process may as well have been killed from outside.
  static constexpr const char *ONCE = "once: ";
  std::string crash(const std::string &key) const;
  std::string noted_crash(const std::string &key) const;  // a suspected one, too
  void remember_crash(const std::string &key, const std::string &what) const;
  void forget_crash(const std::string &key) const;
  std::string crash_file(const std::string &key) const;
  void drop(const std::string &key) const;  // the entry

  // What this driver's build of the program was found to agree with; empty where that is not known.
  std::string proof(const std::string &key) const { return text(file(key, ".ok")); }
  void remember_proof(const std::string &key, const std::string &what) const;

 private:
  std::string file(const std::string &key, const char *ending) const;
  std::string text(const std::string &path) const;
  std::string binary(const std::string &key) const;
  cl::Owned<cl::Program> source_program(const std::string &text) const;
  void store(const std::string &key, cl::Program program) const;

  std::string folder_;
  const Device &device_;
  mutable std::atomic<bool> warned_{false};  // of a file
};

std::string default_cache_folder();

}  // namespace pocket
