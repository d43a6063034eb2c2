#include "base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace pocket {
namespace {

const char *const PARTIAL = ".partial-";  // then six characters; toolkit/files.py calls them alike
const char *const OLDER = ".half.";       // as they were called before
constexpr size_t LARGEST_TEXT = 256 << 20;

std::string folder_of(const std::string &path) { return path.substr(0, path.rfind('/') + 1); }

// The name of a file on its way, without the last characters.
std::string beginning_of(const std::string &path) {
  return "." + path.substr(path.rfind('/') + 1) + PARTIAL;  // npos + 1 is 0
}

// Who removes leftovers may take a new file for one, until it is locked.
bool is_still_there(const std::string &path, int file) {
  struct stat opened{};
  struct stat named{};
  return fstat(file, &opened) == 0 && stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

// Who takes it for a leftover holds it until that is gone.
void wait_for_lock(int file) {
  while (flock(file, LOCK_EX) != 0 && errno == EINTR) {
  }
}

void remove_if_left(const std::string &path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return;
  if (lock(file)) unlink(path.c_str());
  close(file);
}

template <class Matches>
void remove_leftovers(const std::string &folder, const Matches &matches) {
  DIR *entries = opendir(folder.empty() ? "." : folder.c_str());
  if (!entries) return;
  while (const dirent *entry = readdir(entries))
    if (matches(std::string(entry->d_name))) remove_if_left(folder + entry->d_name);
  closedir(entries);
}

}  // namespace

Failure unreadable(const std::string &path) {
  return Failure(path + " can't be read", strerror(errno),
                 "copy the whole plan folder, or compile the model again");
}

std::string read_file(const std::string &path) {
  FILE *file = fopen(path.c_str(), "rb");
  if (!file) throw unreadable(path);
  std::string text;
  char piece[65536];
  size_t n = 0;
  while ((n = fread(piece, 1, sizeof piece, file)) > 0 && text.size() <= LARGEST_TEXT)
    text.append(piece, n);
  const bool failed = ferror(file);
  fclose(file);
  if (failed) throw unreadable(path);
  if (text.size() > LARGEST_TEXT)
    throw Failure(path + " is too large", "no text of a plan has over 256 MiB",
                  "copy the plan folder again, or compile the model again");
  return text;
}

void read_file(const std::string &path, char *into, size_t size) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ssize_t n = file < 0 ? -1 : 1;
  errno = file < 0 ? errno : EIO;  // of a file that ends early
  for (size_t done = 0; n > 0 && done < size; done += static_cast<size_t>(std::max<ssize_t>(n, 0)))
    n = pread(file, into + done, size - done, static_cast<off_t>(done));
  const int error = errno;
  if (file >= 0) close(file);
  errno = error;
  if (n <= 0) throw unreadable(path);
}

NewFile::NewFile(const std::string &path, mode_t mode) : path_(path) {
  int handle = create_locked();
  while (handle >= 0 && !is_still_there(temporary_, handle)) {
    close(handle);
    handle = create_locked();
  }
  if (handle >= 0 && fchmod(handle, mode) == 0) file_.reset(fdopen(handle, "wb"));
}

int NewFile::create_locked() {
  temporary_ = folder_of(path_) + beginning_of(path_) + "XXXXXX";
  const int handle = mkostemp(temporary_.data(), O_CLOEXEC);  // for its owner only
  if (handle < 0) temporary_.clear();
  else wait_for_lock(handle);
  return handle;
}

NewFile::~NewFile() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

bool NewFile::write(const void *data, size_t size) {
  return fwrite(data, 1, size, file_.get()) == size;
}

bool NewFile::keep(bool safe_on_disk) {
  const bool written = fflush(file_.get()) == 0;
  const bool safe = written && (!safe_on_disk || fsync(fileno(file_.get())) == 0);
  if (!safe || rename(temporary_.c_str(), path_.c_str()) != 0) return false;
  temporary_.clear();
  return true;
}

// A cache's file is not worth a word where it can't be written. What a power cut spoils is noticed
// when it is read.
bool write_whole(const std::string &path, const std::string &content) {
  NewFile file(path, S_IRUSR | S_IWUSR);
  return file.open() && file.write(content.data(), content.size()) && file.keep(false);
}

void remove_leftovers_in(const std::string &folder) {
  remove_leftovers(folder + "/", [](const std::string &name) {
    return name.find(PARTIAL) != std::string::npos || name.find(OLDER) != std::string::npos;
  });
}

void remove_leftovers_of(const std::string &path) {
  remove_leftovers(folder_of(path), [beginning = beginning_of(path)](const std::string &name) {
    return name.compare(0, beginning.size(), beginning) == 0;
  });
}

bool lock(int file) { return flock(file, LOCK_EX | LOCK_NB) == 0; }

}  // namespace pocket
