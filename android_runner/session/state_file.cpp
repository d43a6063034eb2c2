#include "session/state_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/failure.h"
#include "base/files.h"
#include "base/json.h"
#include "base/output.h"
#include "base/sha256.h"

namespace pocket {
namespace {

constexpr int VERSION = 1;
constexpr int64_t SEAL = 65;  // the checksum in hexadecimal, a line break
constexpr size_t LONGEST_HEADER = 16 << 20;
constexpr int64_t PIECE = 1 << 20;
const char *const SAVE_AGAIN = "save it again";
const char *const MAGIC = "{\"pocketcl_state\": ";

struct CloseFile {
  void operator()(FILE *file) const { fclose(file); }
};
using OpenFile = std::unique_ptr<FILE, CloseFile>;

// Bytes of a state that go into the file: the same number at the start of each block.
struct Part {
  size_t buffer;
  std::string name;
  int64_t blocks, stride, bytes;
};

Part part_of(const Plan &plan, size_t index, int64_t past) {
  const Buffer &buffer = plan.buffers[index];
  std::vector<int64_t> shape;
  for (const Expr &dim : buffer.shape) shape.push_back(evaluate(dim, {}).value_or(0));
  int64_t count = dtype_size(buffer.dtype);
  for (const int64_t dim : shape) count *= dim;
  if (buffer.update != "append" || shape.size() < 2) return {index, buffer.name, 1, count, count};
  const int64_t capacity = shape[shape.size() - 2];
  const int64_t width = dtype_size(buffer.dtype) * shape.back();
  const int64_t stride = capacity * width;
  const int64_t used = std::min(past, capacity) * width;
  return {index, buffer.name, stride ? count / stride : 0, stride, used};
}

std::vector<Part> parts_of(const Plan &plan, int64_t past) {
  std::vector<Part> parts;
  for (size_t i = 0; i < plan.buffers.size(); ++i)
    if (plan.buffers[i].kind == "state") parts.push_back(part_of(plan, i, past));
  return parts;
}

std::string names_of(const std::vector<Part> &parts) {
  std::string list;
  for (const Part &part : parts) list += (list.empty() ? "" : ", ") + quote(part.name);
  return "[" + list + "]";
}

// --- writing -------------------------------------------------------------------------------------

// A new file that carries its checksum at the end.
class SealedFile {
 public:
  explicit SealedFile(const std::string &path) : path_(path), file_(path, 0644) {
    if (!file_.open()) throw unwritable(path_);
    remove_leftovers_of(path_);
  }
  void write(const void *data, size_t size) {
    hash_.update(data, size);
    if (!file_.write(data, size)) throw unwritable(path_);
  }
  void keep() {
    const std::string seal = hash_.hex() + "\n";
    if (!file_.write(seal.data(), seal.size()) || !file_.keep(true)) throw unwritable(path_);
  }

 private:
  const std::string path_;
  NewFile file_;
  Sha256 hash_;
};

std::string header(const Plan &plan, int64_t past, int64_t reached, const std::string &note) {
  return Record()
             .add("pocketcl_state", int64_t{VERSION})
             .add("model", plan.model.sha256)
             .add("plan", plan.digest)
             .add("past", past)
             .add("reached", reached)
             .raw("states", names_of(parts_of(plan, past)))
             .raw("note", note.empty() ? "{}" : note)
             .text() +
         "\n";
}

// --- reading -------------------------------------------------------------------------------------

Failure damaged(const std::string &path, const std::string &because) {
  return Failure(path + " is damaged", because, SAVE_AGAIN);
}

struct Facts {
  int64_t start, past, reached;  // start: the byte behind the first line
};

std::string first_line(const std::string &path, FILE *file) {
  std::string line;
  for (int c = 0; line.size() < LONGEST_HEADER && (c = getc(file)) != EOF;) {
    line += static_cast<char>(c);
    if (c == '\n') break;
    if (line.size() == strlen(MAGIC) && line != MAGIC) break;
  }
  if (line.compare(0, strlen(MAGIC), MAGIC) != 0)
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
  if (version != VERSION)
    throw Failure(path + " is of another version",
                  "it has version " + std::to_string(version) + ", this runner reads " +
                      std::to_string(VERSION),
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
  const std::vector<Part> parts = parts_of(plan, std::max<int64_t>(facts.past, 0));
  bool same = states.list.size() == parts.size() && facts.past >= 1 && facts.reached >= facts.past;
  for (size_t i = 0; same && i < parts.size(); ++i) same = states.list[i].text == parts[i].name;
  if (!same) throw damaged(path, "its first line contradicts the plan");
  return facts;
}

void check_size(const std::string &path, const Plan &plan, const Facts &facts, int64_t size) {
  int64_t expected = facts.start + 4 * facts.past + SEAL;
  for (const Part &part : parts_of(plan, facts.past)) expected += part.blocks * part.bytes;
  if (size != expected)
    throw damaged(
        path, "it has " + std::to_string(size) + " bytes instead of " + std::to_string(expected));
}

void read_exactly(const std::string &path, FILE *file, void *into, size_t size) {
  if (fread(into, 1, size, file) != size) throw damaged(path, "it ends too early");
}

Held read_text(const std::string &path, const Plan &plan, const Facts &facts, FILE *file) {
  Held held;
  held.ids.resize(facts.past);
  held.reached = facts.reached;
  fseek(file, facts.start, SEEK_SET);
  read_exactly(path, file, held.ids.data(), 4 * held.ids.size());
  for (const cl::Int id : held.ids)
    if (id < 0 || id >= plan.model.vocab_size)
      throw damaged(path, "its text has ids that the model has not");
  return held;
}

void write_buffer(const Device &device, cl::Memory memory, size_t offset, size_t size,
                  const void *data) {
  cl::check(
      cl::EnqueueWriteBuffer(device.queue(0), memory, 1, offset, size, data, 0, nullptr, nullptr),
      "clEnqueueWriteBuffer");
}

}  // namespace

void save_state(const std::string &path, const Plan &plan, const Device &device,
                const Memory &memory, const Held &held, int64_t past, const std::string &note) {
  const int64_t most = held.length();
  if (past < 1 || past > most)
    throw Failure("there are no " + std::to_string(past) + " positions to save",
                  "the states hold a text of " + std::to_string(most) + " tokens",
                  "what was fed can be saved, and no more");
  if (!note.empty() && parse_json(note, "note").kind != Json::Dict)
    throw Failure("the note is no JSON object", "it has to be one", "save PAST FILE<tab>{…}");
  SealedFile file(path);
  const std::string first = header(plan, past, held.reached, note);
  file.write(first.data(), first.size());
  file.write(held.ids.data(), 4 * static_cast<size_t>(past));
  std::vector<char> rows;
  for (const Part &part : parts_of(plan, past)) {
    rows.resize(part.bytes);
    for (int64_t block = 0; block < part.blocks && part.bytes; ++block) {
      cl::check(
          cl::EnqueueReadBuffer(device.queue(0), memory.buffer(part.buffer), 1, block * part.stride,
                                part.bytes, rows.data(), 0, nullptr, nullptr),
          "clEnqueueReadBuffer");
      file.write(rows.data(), rows.size());
    }
  }
  file.keep();
}

Held load_state(const std::string &path, const Plan &plan, const Device &device,
                const Memory &memory) {
  const OpenFile file(fopen(path.c_str(), "rb"));
  struct stat status {};
  if (!file || fstat(fileno(file.get()), &status) != 0)
    throw Failure(path + " can't be read", strerror(errno), "check the path");
  const std::string line = first_line(path, file.get());
  check_seal(path, file.get(), status.st_size);
  const Facts facts = read_facts(path, plan, line);
  check_size(path, plan, facts, status.st_size);
  Held held = read_text(path, plan, facts, file.get());
  write_buffer(device, memory.buffer(plan.buffer("ids")), 0, 4 * held.ids.size(), held.ids.data());
  std::vector<char> rows;
  for (const Part &part : parts_of(plan, facts.past)) {
    rows.resize(part.bytes);
    for (int64_t block = 0; block < part.blocks && part.bytes; ++block) {
      read_exactly(path, file.get(), rows.data(), rows.size());
      write_buffer(device, memory.buffer(part.buffer), block * part.stride, part.bytes,
                   rows.data());
    }
  }
  return held;
}

}  // namespace pocket
