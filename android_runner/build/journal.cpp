#include "build/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <vector>

#include "base/files.h"
#include "base/own_files.h"

namespace pocket {
namespace {

const char *const PREFIX = "journal.";
const char *const TASKS[] = {"build", "load", "launch"};
const char *const AGAIN = "-again";  // after a task, where an earlier process ended in the same
const int CRASHES[] = {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE};

int crash_file = -1;

void on_crash(int number) {
  static const struct {
    int number;
    const char *words;
  } last[] = {{SIGSEGV, "crashed SIGSEGV\n"},
              {SIGABRT, "crashed SIGABRT\n"},
              {SIGBUS, "crashed SIGBUS\n"},
              {SIGILL, "crashed SIGILL\n"},
              {SIGFPE, "crashed SIGFPE\n"}};
  for (const auto &entry : last)
    if (entry.number == number && write(crash_file, entry.words, strlen(entry.words)) < 0) break;
  signal(number, SIG_DFL);
  kill(getpid(), number);
}

// The fields of a journal; no key where there is nothing to read.
struct Entry {
  std::string task, key, what, crash;
};

std::string until(std::string &text, char end) {
  const size_t at = text.find(end);
  const std::string word = text.substr(0, at);
  text.erase(0, at == std::string::npos ? at : at + 1);
  return word;
}

Entry parse(std::string text) {
  Entry entry;
  until(text, ' ');  // the process
  entry.task = until(text, ' ');
  entry.key = until(text, ' ');
  entry.what = until(text, '\n');
  if (until(text, ' ') == "crashed") entry.crash = until(text, '\n');
  return entry;
}

bool is_key(const std::string &word) {
  return word.size() == 64 && word.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void remember(const ProgramCache &cache, const Entry &entry) {
  const std::string before = cache.noted_crash(entry.key);
  const bool again = entry.task.find(AGAIN) != std::string::npos;
  const bool sure = !entry.crash.empty() || (again && before.rfind(ProgramCache::ONCE, 0) == 0);
  const std::string how = entry.crash.empty() ? "ended" : "crashed (" + entry.crash + ")";
  if (before.empty() || sure)
    cache.remember_crash(entry.key,
                         (sure ? "" : ProgramCache::ONCE) + how + " while " + entry.what);
}

void settle(const ProgramCache &cache, const std::string &path) {
  std::string why;
  const Entry entry = parse(text_of_own(path, why));
  if (unlink(path.c_str()) != 0 || !is_key(entry.key)) return;
  if (entry.task.rfind(TASKS[Journal::Load], 0) == 0) cache.drop(entry.key);
  else remember(cache, entry);
}

// Its process holds a journal for as long as it lives: that is so in another container too, whose
// processes have numbers of their own.
void settle_if_left(const ProgramCache &cache, const std::string &path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return;
  if (lock(file)) settle(cache, path);
  close(file);
}

}  // namespace

Journal::Journal(const std::string &path) : path_(path) {
  constexpr int FLAGS = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW;
  if (!path_.empty()) file_ = ::open(path_.c_str(), FLAGS, S_IRUSR | S_IWUSR);
  if (file_ >= 0 && !lock(file_)) {  // a process of another container, or a disk without locks
    close(file_);
    file_ = -1;
  }
  done();
}

Journal::~Journal() {
  if (file_ < 0) return;
  if (crash_file == file_) crash_file = -1;
  unlink(path_.c_str());
  close(file_);
}

// A full disk costs the note only.
void Journal::write_line(const std::string &words) {
  if (file_ < 0) return;
  const std::string line = std::to_string(getpid()) + words + "\n";
  if (ftruncate(file_, 0) == 0 && write(file_, line.data(), line.size()) < 0) return;
}

void Journal::about_to(Task task, const std::string &key, const std::string &what, bool suspected) {
  write_line(std::string(" ") + TASKS[task] + (suspected ? AGAIN : "") + " " +
             (key.empty() ? "-" : key) + " " + what);
}

void Journal::done() { write_line(""); }

void Journal::watch_crashes() const {
  if (file_ < 0) return;
  crash_file = file_;
  for (const int number : CRASHES) signal(number, on_crash);
}

std::string journal_in(const std::string &folder) {
  static std::atomic<int> count{0};
  if (folder.empty()) return "";
  const int nth = count++;
  return folder + "/" + PREFIX + std::to_string(getpid()) + (nth ? "." + std::to_string(nth) : "");
}

void settle_journals(const ProgramCache &cache, const std::string &path) {
  std::vector<std::string> found;
  if (DIR *folder = cache.usable() ? opendir(cache.folder().c_str()) : nullptr) {
    while (const dirent *entry = readdir(folder))
      if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0)
        found.push_back(cache.folder() + "/" + entry->d_name);
    closedir(folder);
  }
  if (!path.empty()) found.push_back(path);
  for (const std::string &file : found) settle_if_left(cache, file);
}

}  // namespace pocket
