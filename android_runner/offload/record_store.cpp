#include "offload/record_store.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
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
constexpr int64_t MOST_PAGES = 16;  // that are tried before a storage counts as cached

// One read, as often as the system asks to try again; < 0: errno says why not.
ssize_t patient_read(int handle, char *into, int64_t bytes, int64_t offset) {
  for (int tries = 0;; ++tries) {
    const ssize_t got =
        pread(handle, into, static_cast<size_t>(bytes), static_cast<off_t>(offset));
    if (got >= 0 || (errno != EINTR && errno != EAGAIN) || tries == MOST_TRIES) return got;
    if (errno == EAGAIN) usleep(PAUSE_US);
  }
}

// Whether the cache holds a page of a file; also where the system doesn't tell, as of the files of
// others.
bool is_cached(int handle, int64_t offset, size_t page) {
  void *const mapped =
      mmap(nullptr, page, PROT_READ, MAP_SHARED, handle, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) return true;
  unsigned char resident = 1;
  const bool told = mincore(mapped, page, &resident) == 0;
  munmap(mapped, page);
  return !told || resident & 1;
}

// Some file systems open a file past the cache and refuse to read it, others read it through the cache
// all the same. One page tells, of several that the cache can be made to give up: read a first time, it
// isn't one that is still to be written.
bool passes_the_cache(int handle, int64_t bytes) {
  const size_t page = getauxval(AT_PAGESZ);
  const auto size = static_cast<int64_t>(page);
  const Pages into(page);
  const int64_t pages = (bytes + size - 1) / size;
  for (int64_t i = 0; i < std::min(pages, MOST_PAGES); ++i) {
    const int64_t offset = pages * i / std::min(pages, MOST_PAGES) * size;
    const int64_t wanted = std::min(bytes - offset, size);
    const auto read = [&] { return patient_read(handle, into.data(), size, offset) >= wanted; };
    if (!read()) return false;
    posix_fadvise(handle, static_cast<off_t>(offset), static_cast<off_t>(size), POSIX_FADV_DONTNEED);
    if (!is_cached(handle, offset, page)) return read() && !is_cached(handle, offset, page);
  }
  return false;
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
      direct_ = all_pass_the_cache();
    }
    if (!direct_) open_files(plan, 0);
  } catch (const Failure &) {
    close_files();
    throw;
  }
}

RecordStore::~RecordStore() { close_files(); }

// Those that can't be opened so stay closed, which all_pass_the_cache tells; without `how` they must open.
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

bool RecordStore::all_pass_the_cache() const {
  return std::all_of(files_.begin(), files_.end(), [](const auto &entry) {
    return entry.second.handle >= 0 && passes_the_cache(entry.second.handle, entry.second.bytes);
  });
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
