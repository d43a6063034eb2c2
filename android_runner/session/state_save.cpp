#include "base/failure.h"
#include "base/files.h"
#include "base/json.h"
#include "base/output.h"
#include "base/sha256.h"
#include "session/state_file.h"
#include "session/state_layout.h"

namespace pocket {
namespace {

std::string names_of(const std::vector<SavedRows> &states) {
  std::string list;
  for (const SavedRows &state : states) list += (list.empty() ? "" : ", ") + quote(state.name);
  return "[" + list + "]";
}

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
             .add("pocketcl_state", int64_t{STATE_VERSION})
             .add("model", plan.model.sha256)
             .add("plan", plan.digest)
             .add("past", past)
             .add("reached", reached)
             .raw("states", names_of(saved_rows(plan, past)))
             .raw("note", note.empty() ? "{}" : note)
             .text() +
         "\n";
}

}  // namespace

void save_state(const std::string &path, const Plan &plan, Executor &executor,
                const History &history, int64_t past, const std::string &note) {
  const int64_t most = history.length();
  if (past < 1 || past > most)
    throw Failure("there are no " + std::to_string(past) + " positions to save",
                  "the states hold a text of " + std::to_string(most) + " tokens",
                  "what was fed can be saved, and no more");
  if (!note.empty() && parse_json(note, "note").kind != Json::Dict)
    throw Failure("the note is no JSON object", "it has to be one", "save PAST FILE<tab>{…}");
  SealedFile file(path);
  const std::string first = header(plan, past, history.reached(), note);
  file.write(first.data(), first.size());
  file.write(history.ids().data(), 4 * static_cast<size_t>(past));
  std::vector<char> content;
  for (const SavedRows &state : saved_rows(plan, past)) {
    content.resize(state.bytes);
    for (int64_t block = 0; block < state.blocks && state.bytes; ++block) {
      executor.read(state.buffer, block * state.stride, content.data(), content.size());
      file.write(content.data(), content.size());
    }
  }
  file.keep();
}

}  // namespace pocket
