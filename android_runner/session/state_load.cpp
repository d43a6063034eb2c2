#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/failure.h"
#include "base/json.h"
#include "base/sha256.h"
#include "session/state_file.h"
#include "session/state_layout.h"
#include "session/text_checks.h"

namespace pocket {
namespace {

constexpr int64_t SEAL = 65;  // the checksum in hexadecimal, a line break
constexpr size_t LONGEST_HEADER = 16 << 20;
constexpr int64_t PIECE = 1 << 20;

struct CloseFile {
  void operator()(FILE *file) const { fclose(file); }
};
using OpenFile = std::unique_ptr<FILE, CloseFile>;

Failure damaged(const std::string &path, const std::string &because) {
  return Failure(path + " is damaged", because, SAVE_AGAIN);
}

struct Facts {
  int64_t start, past, reached;  // start: the byte after the first line
};

std::string first_line(const std::string &path, FILE *file) {
  std::string line;
  for (int c = 0; line.size() < LONGEST_HEADER && (c = getc(file)) != EOF;) {
    line += static_cast<char>(c);
    if (c == '\n') break;
    if (line.size() == strlen(STATE_MAGIC) && line != STATE_MAGIC) break;
  }
  if (line.compare(0, strlen(STATE_MAGIC), STATE_MAGIC) != 0)
    throw Failure(path + " is not a state file", "it does not begin as one", SAVE_AGAIN);
  if (line.back() != '\n') throw damaged(path, "its first line does not end");
  return line;
}

// The checksum of everything before it: a file that was cut short or changed has another.
void check_seal(const std::string &path, FILE *file, int64_t size) {
  Sha256 hash;
  std::vector<char> piece(PIECE);
  rewind(file);
  int64_t left = size - SEAL;
  while (left > 0) {
    const size_t n = fread(piece.data(), 1, std::min(PIECE, left), file);
    if (n == 0) break;
    hash.update(piece.data(), n);
    left -= static_cast<int64_t>(n);
  }
  char seal[SEAL + 1] = {};
  if (left != 0 || fread(seal, 1, SEAL, file) != SEAL || seal != hash.hex() + "\n")
    throw damaged(path, "its checksum is wrong: it was cut short or changed");
}

const Json &fact(const std::string &path, const Json &facts, const char *key, Json::Kind kind) {
  const Json *found = facts.find(key);
  if (!found || found->kind != kind)
    throw damaged(path, std::string("its first line lacks a good '") + key + "'");
  return *found;
}

void check_version(const std::string &path, const Json &facts) {
  const int64_t version = fact(path, facts, "pocketcl_state", Json::Integer).integer;
  if (version != STATE_VERSION)
    throw Failure(path + " is of another version",
                  "it has version " + std::to_string(version) + ", this runner reads " +
                      std::to_string(STATE_VERSION),
                  SAVE_AGAIN);
}

void check_plan(const std::string &path, const Plan &plan, const Json &facts) {
  const std::string &model = fact(path, facts, "model", Json::Text).text;
  const int64_t past = fact(path, facts, "past", Json::Integer).integer;
  if (model != plan.model.sha256)
    throw Failure(path + " belongs to another model",
                  "the model's sha256 is " + model.substr(0, 12) + "… there, " +
                      plan.model.sha256.substr(0, 12) + "… here",
                  "take the plan it is from");
  if (past > plan.model.max_context)
    throw Failure("the text of " + path + " does not fit",
                  "its text has " + std::to_string(past) + " tokens, the plan was compiled for " +
                      std::to_string(plan.model.max_context),
                  "compile with --max-context " + std::to_string(past) + " or more");
  if (fact(path, facts, "plan", Json::Text).text != plan.digest)
    throw Failure(path + " belongs to another plan",
                  "the model is the same, but the plan was compiled with other options or edited",
                  SAVE_AGAIN);
}

Facts read_facts(const std::string &path, const Plan &plan, const std::string &line) {
  Json json;
  try {
    json = parse_json(line, path);
  } catch (const Failure &failure) {
    throw damaged(path, failure.what());
  }
  check_version(path, json);
  check_plan(path, plan, json);
  const Facts facts{static_cast<int64_t>(line.size()),
                    fact(path, json, "past", Json::Integer).integer,
                    fact(path, json, "reached", Json::Integer).integer};
  fact(path, json, "note", Json::Dict);
  const Json &states = fact(path, json, "states", Json::List);
  const std::vector<SavedRows> rows = saved_rows(plan, std::max<int64_t>(facts.past, 0));
  bool same = states.list.size() == rows.size() && facts.past >= 1 && facts.reached >= facts.past;
  for (size_t i = 0; same && i < rows.size(); ++i) same = states.list[i].text == rows[i].name;
  if (!same) throw damaged(path, "its first line contradicts the plan");
  return facts;
}

void check_size(const std::string &path, const Plan &plan, const Facts &facts, int64_t size) {
  int64_t expected = facts.start + 4 * facts.past + SEAL;
  for (const SavedRows &state : saved_rows(plan, facts.past))
    expected += state.blocks * state.bytes;
  if (size != expected)
    throw damaged(
        path, "it has " + std::to_string(size) + " bytes instead of " + std::to_string(expected));
}

void read_exactly(const std::string &path, FILE *file, void *into, size_t size) {
  if (fread(into, 1, size, file) != size) throw damaged(path, "it ends too early");
}

std::vector<cl::Int> read_ids(const std::string &path, const Plan &plan, const Facts &facts,
                              FILE *file) {
  std::vector<cl::Int> ids(facts.past);
  fseek(file, facts.start, SEEK_SET);
  read_exactly(path, file, ids.data(), 4 * ids.size());
  for (const cl::Int id : ids)
    if (!is_id(plan, id)) throw damaged(path, "its text has ids that the model has not");
  return ids;
}

}  // namespace

void load_state(const std::string &path, const Plan &plan, const Executor &executor,
                History &history) {
  const OpenFile file(fopen(path.c_str(), "rb"));
  struct stat status{};
  if (!file || fstat(fileno(file.get()), &status) != 0)
    throw Failure(path + " can't be read", strerror(errno), "check the path");
  const std::string line = first_line(path, file.get());
  check_seal(path, file.get(), status.st_size);
  const Facts facts = read_facts(path, plan, line);
  check_size(path, plan, facts, status.st_size);
  std::vector<cl::Int> ids = read_ids(path, plan, facts, file.get());
  executor.write(plan.buffer("ids"), 0, ids);
  std::vector<char> content;
  for (const SavedRows &state : saved_rows(plan, facts.past)) {
    content.resize(state.bytes);
    for (int64_t block = 0; block < state.blocks && state.bytes; ++block) {
      read_exactly(path, file.get(), content.data(), content.size());
      executor.write(state.buffer, block * state.stride, content.data(), content.size());
    }
  }
  history.restore(std::move(ids), facts.reached);
}

}  // namespace pocket
