#include "build/program_cache.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/files.h"
#include "base/own_files.h"
#include "base/sha256.h"
#include "opencl/linker.h"
#include "plan/plan.h"

namespace pocket {
namespace {

const char *const MAGIC = "pocketcl program 1\n";  // then 64 hexadecimal digits, then the binary

std::string build_log(cl::Program program, cl::Device device) {
  size_t size = 0;
  if (cl::GetProgramBuildInfo(program, device, cl::PROGRAM_BUILD_LOG, 0, nullptr, &size) != 0)
    return "";
  std::string log(size, '\0');
  cl::GetProgramBuildInfo(program, device, cl::PROGRAM_BUILD_LOG, size, &log[0], nullptr);
  while (!log.empty() && (log.back() == '\0' || log.back() == '\n')) log.pop_back();
  return log;
}

std::string binary_of(cl::Program program) {
  size_t size = 0;
  if (cl::GetProgramInfo(program, cl::PROGRAM_BINARY_SIZES, sizeof size, &size, nullptr) != 0)
    return "";
  std::string binary(size, '\0');
  char *start = &binary[0];
  if (size && cl::GetProgramInfo(program, cl::PROGRAM_BINARIES, sizeof start, &start, nullptr) != 0)
    return "";
  return binary;
}

// Mali compiles when kernels are made: without them its binary holds next to nothing.
std::vector<cl::Owned<cl::Kernel>> all_kernels(cl::Program program) {
  std::vector<cl::Kernel> made;
  cl::Uint count = 0;
  if (cl::CreateKernelsInProgram(program, 0, nullptr, &count) == 0) made.resize(count);
  if (count && cl::CreateKernelsInProgram(program, count, made.data(), nullptr) != 0) made.clear();
  std::vector<cl::Owned<cl::Kernel>> owned;
  for (const cl::Kernel kernel : made) owned.emplace_back(kernel);
  return owned;
}

// Programs run on the device, and with a CPU's driver in this process: nobody else may have a hand
// in them.
void warn(const std::string &name, const std::string &why) {
  fprintf(stderr,
          "note: %s is not used for compiled programs, because %s: remove it, or choose a folder "
          "that only you can write to\n",
          name.c_str(), why.c_str());
}

}  // namespace

ProgramCache::ProgramCache(std::string folder, const Device &device)
    : folder_(std::move(folder)), device_(device) {
  if (folder_.empty()) return;
  make_own_folder(folder_);
  const std::string why = weakness(folder_);
  if (!why.empty()) warn(folder_, why);
  if (!why.empty() || access(folder_.c_str(), R_OK | W_OK | X_OK) != 0) folder_.clear();
  else remove_leftovers_in(folder_);
}

std::string ProgramCache::key(const ProgramText &text) const {
  const DeviceFacts &facts = device_.facts();
  std::string key;
  for (const std::string &part :
       {std::string(MAGIC), text.source, text.options, facts.name, facts.driver,
        facts.platform_version, std::to_string(PLAN_FORMAT)})
    key += std::to_string(part.size()) + ":" + part;
  return sha256(key);
}

std::string ProgramCache::file(const std::string &key, const char *ending) const {
  return folder_ + "/" + key + ending;
}

// The content of one of our files; empty where there is none, or where others can write to it.
std::string ProgramCache::text(const std::string &path) const {
  if (!usable()) return "";
  std::string why;
  const std::string found = text_of_own(path, why);
  if (!why.empty() && !warned_.exchange(true)) warn(path, why);
  return found;
}

// Of a whole entry; empty where there is none.
std::string ProgramCache::binary(const std::string &key) const {
  const std::string text = this->text(file(key, ".bin")), magic = MAGIC;
  const size_t head = magic.size() + 64;
  if (text.size() <= head || text.compare(0, magic.size(), magic) != 0) return "";
  const std::string binary = text.substr(head);
  return sha256(binary) == text.substr(magic.size(), 64) ? binary : "";
}

cl::Owned<cl::Program> ProgramCache::load(const std::string &key,
                                          const std::string &options) const {
  const std::string binary = this->binary(key);
  if (binary.empty() || !cl::CreateProgramWithBinary) return {};
  const auto *data = reinterpret_cast<const unsigned char *>(binary.data());
  const size_t size = binary.size();
  cl::Int status = 0, code = 0;
  cl::Owned<cl::Program> program(cl::CreateProgramWithBinary(
      device_.context(), 1, &device_.facts().id, &size, &data, &status, &code));
  if (code != 0 || status != 0) return {};
  if (cl::BuildProgram(program.get(), 1, &device_.facts().id, options.c_str(), nullptr, nullptr))
    return {};
  return program;
}

void ProgramCache::store(const std::string &key, cl::Program program) const {
  const std::string binary = usable() ? binary_of(program) : "";
  if (!binary.empty()) write_whole(file(key, ".bin"), MAGIC + sha256(binary) + binary);
}

cl::Owned<cl::Program> ProgramCache::source_program(const std::string &text) const {
  const char *source = text.data();
  const size_t size = text.size();
  cl::Int code = 0;
  cl::Owned<cl::Program> program(
      cl::CreateProgramWithSource(device_.context(), 1, &source, &size, &code));
  cl::check(code, "clCreateProgramWithSource");
  return program;
}

cl::Owned<cl::Program> ProgramCache::build(const ProgramText &text, std::string &log,
                                           const Prepare &prepare) const {
  check_linker(device_.facts());
  cl::Owned<cl::Program> program;
  const cl::Int code = device_.with_memory([&] {
    program = source_program(text.source);
    return cl::BuildProgram(program.get(), 1, &device_.facts().id, text.options.c_str(), nullptr,
                            nullptr);
  });
  if (code != 0) {
    log = build_log(program.get(), device_.facts().id);
    if (log.empty()) log = cl::error_name(code);
    return {};
  }
  const auto kernels = all_kernels(program.get());  // alive while the binary is taken
  if (prepare) prepare(program.get());
  store(key(text), program.get());
  return program;
}

// --- programs that the driver died of ------------------------------------------------------------

std::string ProgramCache::crash_file(const std::string &key) const { return file(key, ".bad"); }

std::string ProgramCache::crash(const std::string &key) const {
  const std::string found = noted_crash(key);
  return found.rfind(ONCE, 0) == 0 ? "" : found;
}

std::string ProgramCache::noted_crash(const std::string &key) const {
  std::string found = text(crash_file(key));
  while (!found.empty() && found.back() == '\n') found.pop_back();
  return found;
}

void ProgramCache::remember_crash(const std::string &key, const std::string &what) const {
  if (usable()) write_whole(crash_file(key), what + "\n");
}

void ProgramCache::forget_crash(const std::string &key) const {
  if (usable()) unlink(crash_file(key).c_str());
}

void ProgramCache::drop(const std::string &key) const {
  if (usable()) unlink(file(key, ".bin").c_str());
}

void ProgramCache::remember_proof(const std::string &key, const std::string &what) const {
  if (usable()) write_whole(file(key, ".ok"), what + "\n");
}

std::string default_cache_folder() {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (base && base[0] == '/') return std::string(base) + "/pocketcl/programs";
  return home && home[0] == '/' ? std::string(home) + "/.cache/pocketcl/programs" : "";
}

}  // namespace pocket
