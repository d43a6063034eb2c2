// What the runner is about to do that a driver may die of, in a file: whoever finds it knows where.
//
// One line: the process, and during a risky call the task, a key (of a program in the cache, or -),
// and words for people. The file is locked by its process, and removed at a good end. `crashed`
// after it was written by the dying process itself; without, it may as well have been killed from
// outside.
#pragma once
#include <string>

#include "build/program_cache.h"

namespace pocket {

class Journal {
 public:
  enum Task { Build, Load, Launch };

  explicit Journal(const std::string &path);  // empty, or not to be written: none is kept
  Journal(const Journal &) = delete;
  ~Journal();

  // `suspected`: an earlier process ended there, and this one knows.
  void about_to(Task task, const std::string &key, const std::string &what, bool suspected);
  void done();
  bool open() const { return file_ >= 0; }

  // From here on, crash signals leave their name in this journal. For programs, not for libraries:
  // an app has handlers of its own.
  void watch_crashes() const;

 private:
  void write_line(const std::string &words);

  const std::string path_;
  int file_ = -1;
};

std::string journal_in(const std::string &folder);  // a name for this process's own

// Reads the journals that dead processes left in the cache's folder, and at `path`; and removes
// them. A program that a process crashed of, or in which one ended and later another, is remembered
// as the driver's crash (several that were killed at once are no proof); a binary is dropped.
void settle_journals(const ProgramCache &cache, const std::string &path);

}  // namespace pocket
