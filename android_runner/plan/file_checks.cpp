// The files of a plan, and what is looked up in it by name.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <tuple>

#include "base/failure.h"
#include "base/files.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "plan/json_node.h"
#include "plan/plan.h"

namespace pocket {
namespace {

bool ends_with(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

FileIdentity identity_of(const std::string &path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return {};
  return {static_cast<uint64_t>(status.st_dev), static_cast<uint64_t>(status.st_ino),
          static_cast<int64_t>(status.st_mtim.tv_sec), static_cast<int64_t>(status.st_mtim.tv_nsec),
          static_cast<int64_t>(status.st_size)};
}

void note_edit(const std::string &path) {
  fprintf(stderr, "note: %s was edited after the compile\n", path.c_str());
}

Failure damaged(const std::string &path, const std::string &why) {
  return {path + " is damaged", why, "copy the plan folder again, or compile the model again"};
}

// Hash of plan.json above its last key, which holds it (toolkit/plan/text.py writes it).
std::string digest_of(const std::string &text) {
  std::string above = text.substr(0, text.rfind("\n\"digest\": "));
  above.resize(above.find_last_not_of(" \t\r\n\f\v") + 1);
  return sha256(above);
}

// Weights must be whole. A .cl or .json may have been edited: it is used, after a note that names
// it.
void check_file(Plan &plan, size_t index) {
  File &file = plan.files[index];
  const std::string path = plan.path(index);
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) throw unreadable(path);
  const int64_t size = S_ISREG(status.st_mode) ? static_cast<int64_t>(status.st_size) : -1;
  if (file.text() && size >= 0) {
    file.edited = size != file.bytes || sha256(read_file(path)) != file.sha256;
    if (file.edited) note_edit(path);
  } else if (size != file.bytes) {
    throw damaged(path, "it has " + std::to_string(size) + " bytes instead of " +
                            std::to_string(file.bytes));
  }
}

}  // namespace

bool FileIdentity::operator==(const FileIdentity &other) const {
  return std::tie(device, number, seconds, nanoseconds, bytes) ==
         std::tie(other.device, other.number, other.seconds, other.nanoseconds, other.bytes);
}

bool File::text() const {
  for (const char *suffix : {".cl", ".json", ".txt", ".jinja"})
    if (ends_with(path, suffix)) return true;
  return false;
}

const Phase *Plan::phase(const std::string &name) const {
  for (const Phase &phase : phases)
    if (phase.name == name) return &phase;
  return nullptr;
}

size_t Plan::buffer(const std::string &name) const {
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].name == name) return i;
  throw Failure("the plan has no buffer named " + quote(name), "a language model needs it",
                "compile the model again");
}

bool Plan::has_buffer(const std::string &name) const {
  for (const Buffer &buffer : buffers)
    if (buffer.name == name) return true;
  return false;
}

size_t Plan::slots() const {
  int64_t end = 0;
  for (const Symbol &symbol : symbols) end = std::max(end, symbol.end());
  return static_cast<size_t>(end);
}

std::optional<size_t> Plan::find_symbol(const std::string &name) const {
  for (size_t i = 0; i < symbols.size(); ++i)
    if (symbols[i].name == name) return i;
  return {};
}

size_t Plan::symbol(const std::string &name) const {
  if (const auto found = find_symbol(name)) return *found;
  throw Failure("the plan has no symbol named " + quote(name), "a language model needs it",
                "compile the model again");
}

std::string Plan::program_name(size_t program) const {
  return files[programs[program].file].path + " (" + programs[program].kernel + ")";
}

void check_same(const Plan &plan) {
  if (identity_of(plan.file) == plan.identity) return;
  throw Failure(plan.folder + " was replaced while it was read",
                "another compile wrote to it, or it was edited", "run it again");
}

void check_content(const Plan &plan, size_t file) {
  const MappedFile mapped(plan.path(file), static_cast<size_t>(plan.files[file].bytes));
  Sha256 hash;
  hash.update(mapped.data(), mapped.size());
  if (hash.hex() != plan.files[file].sha256)
    throw damaged(plan.path(file), "its content is not that of the compile (SHA-256)");
}

Plan load_plan(const std::string &path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) throw unreadable(path);
  const bool folder = S_ISDIR(status.st_mode);
  const size_t slash = path.rfind('/');
  const std::string file = folder ? path + "/plan.json" : path;
  const FileIdentity identity = identity_of(file);
  const std::string text = read_file(file);
  const Json json = parse_json(text, "plan.json");
  const std::string home = folder ? path : slash == std::string::npos ? "." : path.substr(0, slash);
  Plan plan = read_plan(Node(json, ""), home);
  const Json *digest = json.find("digest"), *source = json.find("model")->find("source");
  const Json *sha256 = source && source->kind == Json::Dict ? source->find("sha256") : nullptr;
  plan.model.sha256 = sha256 ? sha256->text : "";
  plan.digest = digest_of(text);
  plan.file = file;
  plan.identity = identity;
  plan.edited = !digest || digest->text != plan.digest;
  if (plan.edited) note_edit(file);
  for (size_t i = 0; i < plan.files.size(); ++i) check_file(plan, i);
  return plan;
}

}  // namespace pocket
