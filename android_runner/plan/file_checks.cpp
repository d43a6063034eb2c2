// What stands beside plan.json, and what a language model must have.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <tuple>

#include "base/failure.h"
#include "base/files.h"
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

// Hash of plan.json above its last key, which holds it (toolkit/plan/schema.py writes it).
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
    throw Failure(
        path + " is damaged",
        "it has " + std::to_string(size) + " bytes instead of " + std::to_string(file.bytes),
        "copy the plan folder again, or compile the model again");
  }
}

void need_buffer(const Node &root, const Plan &plan, const std::string &name, const char *dtype,
                 int64_t bytes) {
  size_t i = 0;
  while (i < plan.buffers.size() && plan.buffers[i].name != name) ++i;
  if (i == plan.buffers.size())
    root.at("buffers").fail("a language model needs a buffer named " + quote(name));
  const Node node = root.at("buffers").at(i);
  if (plan.buffers[i].dtype != dtype) node.at("dtype").fail("expected " + quote(dtype));
  if (plan.buffers[i].bytes < bytes)
    node.at("bytes").fail("a language model needs " + std::to_string(bytes));
}

// Sizes hold within a phase's bounds only: it must take whatever a session gives it.
void need_bounds(const Node &node, const Plan &plan, const Phase &phase) {
  const auto need = [&](const char *name, int64_t low, int64_t high) {
    const Range range = phase.box[plan.slot(name)];
    if (range.low > low || range.high < high)
      node.at("bounds").fail(std::string(name) + " must include " + std::to_string(low) + " to " +
                             std::to_string(high));
  };
  const int64_t chunk = std::min(plan.model.prefill_chunk, phase.box[plan.slot("seq")].high);
  need("seq", 1, 1);
  need("past", 0, plan.model.max_context - 1);
  need("rows", 1, phase.name == "score" ? chunk : 1);
}

void need_phases(const Node &root, const Plan &plan) {
  for (const char *name : {"prefill", "decode"})
    if (!plan.phase(name))
      root.at("phases").fail("a language model needs a phase named " + quote(name));
  for (const char *name : {"prefill", "decode", "score"})
    if (const Phase *phase = plan.phase(name))
      need_bounds(root.at("phases").at(phase - plan.phases.data()), plan, *phase);
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

size_t Plan::slot(const std::string &name) const {
  for (size_t i = 0; i < symbols.size(); ++i)
    if (symbols[i].name == name) return i;
  throw Failure("the plan has no symbol named " + quote(name), "a language model needs it",
                "compile the model again");
}

std::string Plan::program_name(size_t program) const {
  return files[programs[program].file].path + " (" + programs[program].kernel + ")";
}

void check_language_model(const Node &root, const Plan &plan) {
  const Model &model = plan.model;
  const Node symbols = root.at("symbols");
  const std::pair<const char *, int64_t> needed[] = {
      {"seq", model.prefill_chunk}, {"past", model.max_context - 1}, {"rows", 1}, {"start.0", 0}};
  for (const auto &[name, reach] : needed) {
    size_t slot = 0;
    while (slot < plan.symbols.size() && plan.symbols[slot].name != name) ++slot;
    if (slot == plan.symbols.size())
      symbols.fail(std::string("a language model needs a symbol named ") + name);
    if (plan.symbols[slot].range.high < reach)
      symbols.at(slot).at("max").fail("the model needs at least " + std::to_string(reach));
  }
  need_buffer(root, plan, "tokens", "i32", 4 * model.batch * model.prefill_chunk);
  need_buffer(root, plan, "ids", "i32", 4 * model.batch * (model.max_context + 1));
  const Phase *score = plan.phase("score");
  const int64_t rows = score ? score->box[plan.slot("rows")].high : 1;
  int64_t logits = 4 * model.batch * model.vocab_size;
  if (__builtin_mul_overflow(logits, rows, &logits)) logits = INT64_MAX;
  need_buffer(root, plan, "logits", "f32", logits);
  need_phases(root, plan);
}

void check_same(const Plan &plan) {
  if (identity_of(plan.file) == plan.identity) return;
  throw Failure(plan.folder + " was replaced while it was read",
                "another compile wrote to it, or it was edited", "run it again");
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
