#include "program_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "failure.h"
#include "plan.h"
#include "sha256.h"

namespace pocket {
namespace {

const char *const MAGIC = "pocketcl program 1\n";  // then 64 hexadecimal digits, then the binary
const char *const OPTIONS = "";

void make_folders(const std::string &path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1))
    mkdir(path.substr(0, slash).c_str(), 0755);
  mkdir(path.c_str(), 0755);
}

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

}  // namespace

ProgramCache::ProgramCache(std::string folder, const Device &device)
    : folder_(std::move(folder)), device_(device) {
  if (!folder_.empty()) make_folders(folder_);
}

std::string ProgramCache::entry(const std::string &text) const {
  if (folder_.empty()) return "";
  const DeviceFacts &facts = device_.facts();
  std::string key;
  for (const std::string &part :
       {std::string(MAGIC), text, std::string(OPTIONS), facts.name, facts.driver,
        facts.platform_version, std::to_string(PLAN_FORMAT)})
    key += std::to_string(part.size()) + ":" + part;
  return folder_ + "/" + sha256(key) + ".bin";
}

cl::Owned<cl::Program> ProgramCache::from_binary(const std::string &path) const {
  if (path.empty() || access(path.c_str(), R_OK) != 0) return {};
  std::string file;
  try {
    file = read_file(path);
  } catch (const Failure &) {
    return {};
  }
  const std::string magic = MAGIC;
  const size_t head = magic.size() + 64;
  if (file.size() <= head || file.compare(0, magic.size(), magic) != 0) return {};
  const std::string binary = file.substr(head);
  if (sha256(binary) != file.substr(magic.size(), 64)) return {};
  const auto *data = reinterpret_cast<const unsigned char *>(binary.data());
  const size_t size = binary.size();
  cl::Int status = 0, code = 0;
  cl::Owned<cl::Program> program(cl::CreateProgramWithBinary(
      device_.context(), 1, &device_.facts().id, &size, &data, &status, &code));
  if (code != 0 || status != 0) return {};
  if (cl::BuildProgram(program.get(), 1, &device_.facts().id, OPTIONS, nullptr, nullptr) != 0)
    return {};
  return program;
}

void ProgramCache::store(const std::string &path, cl::Program program) const {
  const std::string binary = path.empty() ? "" : binary_of(program);
  if (binary.empty()) return;
  const std::string temporary = path + "." + std::to_string(getpid());
  const std::string content = MAGIC + sha256(binary) + binary;
  FILE *file = fopen(temporary.c_str(), "wb");
  if (!file) return;
  const bool whole = fwrite(content.data(), 1, content.size(), file) == content.size();
  if (fclose(file) != 0 || !whole || rename(temporary.c_str(), path.c_str()) != 0)
    unlink(temporary.c_str());
}

cl::Owned<cl::Program> ProgramCache::build(const std::string &text, std::string &log) {
  const std::string path = entry(text);
  if (auto program = from_binary(path)) {
    ++cached;
    return program;
  }
  const char *source = text.data();
  const size_t size = text.size();
  cl::Int code = 0;
  cl::Owned<cl::Program> program(
      cl::CreateProgramWithSource(device_.context(), 1, &source, &size, &code));
  cl::check(code, "clCreateProgramWithSource");
  code = cl::BuildProgram(program.get(), 1, &device_.facts().id, OPTIONS, nullptr, nullptr);
  if (code != 0) {
    log = build_log(program.get(), device_.facts().id);
    if (log.empty()) log = cl::error_name(code);
    return {};
  }
  ++built;
  store(path, program.get());
  return program;
}

std::string default_cache_folder() {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (base && base[0] == '/') return std::string(base) + "/pocketcl/programs";
  return home && home[0] == '/' ? std::string(home) + "/.cache/pocketcl/programs" : "";
}

}  // namespace pocket
