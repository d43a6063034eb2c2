#include "offload/record_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/files.h"
#include "base/pages.h"

namespace pocket {
namespace {

constexpr int MOST_TRIES = 1000;  // of a read that the system puts off, a tenth of a second in all
constexpr useconds_t PAUSE_US = 100;

// One read, as often as the system asks to try again; < 0: errno says why not.
ssize_t patient_read(int handle, char *into, int64_t bytes, int64_t offset) {
  for (int tries = 0;; ++tries) {
    const ssize_t got =
        pread(handle, into, static_cast<size_t>(bytes), static_cast<off_t>(offset));
    if (got >= 0 || (errno != EINTR && errno != EAGAIN) || tries == MOST_TRIES) return got;
    if (errno == EAGAIN) usleep(PAUSE_US);
  }
}

Failure unread(const std::string &path, int64_t offset, const std::string &because) {
  return {path + " can't be read at byte " + std::to_string(offset), because,
          "see that the file is whole and its storage sound: pocketcl verify; then run it again"};
}

}  // namespace

RecordStore::RecordStore(const Plan &plan, Way way) : way_(way) {
  try {
    if (way == Way::Storage) {
      open_files(plan, O_DIRECT);
      direct_ = all_read();
    }
    if (!direct_) open_files(plan, 0);
  } catch (const Failure &) {
    close_files();
    throw;
  }
}

RecordStore::~RecordStore() { close_files(); }

// Those that can't be opened so stay closed, which all_read tells; without `how` they must open.
void RecordStore::open_files(const Plan &plan, int how) {
  close_files();
  for (const Table &table : plan.tables) {
    if (files_.count(table.file)) continue;
    const std::string path = plan.path(table.file);
    const int handle = open(path.c_str(), O_RDONLY | O_CLOEXEC | how);
    if (handle < 0 && !how) throw unreadable(path);
    if (handle >= 0) posix_fadvise(handle, 0, 0, POSIX_FADV_RANDOM);  // nothing comes ahead
    files_[table.file] = {path, plan.files[table.file].bytes, handle};
  }
}

void RecordStore::close_files() {
  for (const auto &entry : files_)
    if (entry.second.handle >= 0) close(entry.second.handle);
  files_.clear();
}

// Some file systems open a file so and refuse to read it.
bool RecordStore::all_read() const {
  const Pages page(FLASH_PAGE);
  for (const auto &entry : files_) {
    const Opened &file = entry.second;
    const int64_t wanted = std::min(file.bytes, FLASH_PAGE);
    if (file.handle < 0 || patient_read(file.handle, page.data(), FLASH_PAGE, 0) < wanted)
      return false;
  }
  return true;
}

void RecordStore::read(size_t file, int64_t offset, int64_t bytes, char *into) const {
  const Opened &from = files_.at(file);
  const int64_t wanted = std::min(bytes, from.bytes - offset);
  int stuck = 0;  // reads that brought no page: at the file's end each does so
  for (int64_t done = 0; done < wanted;) {
    const ssize_t got = patient_read(from.handle, into + done, bytes - done, offset + done);
    if (got < 0) throw unread(from.path, offset + done, strerror(errno));
    if (done + got >= wanted) break;
    const int64_t whole = got / FLASH_PAGE * FLASH_PAGE;  // past the cache reads begin at pages
    stuck = whole ? 0 : stuck + 1;
    if (stuck == 2)
      throw unread(from.path, offset + done + got,
                   "it ends there: it has been cut since the plan was loaded, which told " +
                       std::to_string(from.bytes) + " bytes");
    done += whole;
  }
  if (way_ == Way::Storage && !direct_)
    posix_fadvise(from.handle, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                  POSIX_FADV_DONTNEED);
}

}  // namespace pocket
