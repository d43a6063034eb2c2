// Files of a plan, read whole; and files that appear all at once or not at all.
#pragma once
#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/failure.h"

namespace pocket {

Failure unreadable(const std::string &path);     // by errno
std::string read_file(const std::string &path);  // throws Failure
void read_file(const std::string &path, char *into, size_t size);  // its first bytes; likewise

// A file under another name, which takes the place of `path` when it is whole. It is locked for as
// long as it is written: one that nobody holds is left over from a process that was killed.
class NewFile {
 public:
  NewFile(const std::string &path, mode_t mode);
  NewFile(const NewFile &) = delete;
  ~NewFile();

  // False where that fails; errno says why.
  bool open() const { return file_ != nullptr; }
  bool write(const void *data, size_t size);
  bool keep(bool safe_on_disk);

 private:
  int create_locked();

  struct Close {
    void operator()(FILE *file) const { fclose(file); }
  };
  const std::string path_;
  std::string temporary_;  // empty when it is kept
  std::unique_ptr<FILE, Close> file_;
};

bool write_whole(const std::string &path, const std::string &content);  // for its owner, or nothing

// Removes what was left over in the folder: of all files, or of those that were to become `path`.
void remove_leftovers_in(const std::string &folder);
void remove_leftovers_of(const std::string &path);

// Locks an open file; false where another process holds it, or the file system knows no locks.
bool lock(int file);

}  // namespace pocket
