#include "gather/warm_set.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <utility>

#include "base/files.h"
#include "base/own_files.h"
#include "base/sha256.h"

namespace pocket {
namespace {

constexpr size_t SEAL = 65;  // hexadecimal digits and a line's end

std::string head_of(const Plan &plan) { return "pocketcl warm 1\n" + plan.digest + "\n"; }

// The most that a set of this plan takes: numbers of ten digits, and what is between them.
int64_t most_bytes(const Plan &plan) {
  int64_t records = 0;
  for (const Table &table : plan.tables) records += table.count + 1;
  return 11 * records + 1024;
}

// Of a file; empty where there is none, or it is no file, or a larger one.
std::string small_text(const std::string &path, int64_t most) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return "";
  struct stat status {};
  std::string text;
  if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= most) {
    text.resize(static_cast<size_t>(status.st_size));
    const ssize_t n = pread(file, text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  }
  close(file);
  return text;
}

// The numbers of a line, and where the next one begins; nothing where it is no line of records that a
// table of `count` has, each once.
std::optional<std::vector<int32_t>> records_in(const char *&at, int64_t count) {
  std::vector<int32_t> records;
  std::vector<uint8_t> seen(static_cast<size_t>(count));
  while (*at != '\n') {
    char *end = nullptr;
    const long long record = strtoll(at, &end, 10);
    if (end == at || (*end != ' ' && *end != '\n') || record < 0 || record >= count) return {};
    if (seen[static_cast<size_t>(record)]++) return {};
    records.push_back(static_cast<int32_t>(record));
    at = *end == ' ' ? end + 1 : end;
  }
  ++at;
  return records;
}

}  // namespace

WarmSet::WarmSet(const Plan &plan, const std::string &folder)
    : plan_(plan), folder_(folder), path_(folder.empty() ? "" : folder + "/" + plan.digest) {}

RecordLists WarmSet::read() const {
  if (path_.empty()) return {};
  const std::string text = small_text(path_, most_bytes(plan_)), head = head_of(plan_);
  if (text.size() < head.size() + SEAL || text.compare(0, head.size(), head) != 0) return {};
  const std::string sealed = text.substr(0, text.size() - SEAL);
  if (sha256(sealed) + "\n" != text.substr(sealed.size())) return {};
  return lists_in(sealed.substr(head.size()));
}

RecordLists WarmSet::lists_in(const std::string &text) const {
  RecordLists lists;
  const char *at = text.c_str();
  for (const Table &table : plan_.tables) {
    if (text.find('\n', static_cast<size_t>(at - text.c_str())) == std::string::npos) return {};
    auto records = records_in(at, table.count);
    if (!records) return {};
    lists.push_back(std::move(*records));
  }
  return *at ? RecordLists() : lists;
}

bool WarmSet::write(const Machine &machine) const {
  if (path_.empty()) return true;
  std::string text = head_of(plan_);
  for (size_t i = 0; i < plan_.tables.size(); ++i) {
    std::string line;
    for (const int32_t record : machine.cache(i).by_worth())
      line += (line.empty() ? "" : " ") + std::to_string(record);
    text += line + "\n";
  }
  make_own_folder(folder_);
  return write_whole(path_, text + sha256(text) + "\n");
}

}  // namespace pocket
