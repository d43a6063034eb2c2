// The flash files of a plan, open for reading: past the page cache where the storage can.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "base/failure.h"
#include "plan/plan.h"

namespace pocket {

class RecordStore {
 public:
  // Storage: past the page cache, or at least with nothing left in it. Cached: through it, and it
  // keeps what was read; the imitation of a flash needs that.
  enum class Way { Storage, Cached };

  // The files in which the plan's tables lie. Throws Failure.
  RecordStore(const Plan &plan, Way way);
  RecordStore(const RecordStore &) = delete;
  RecordStore &operator=(const RecordStore &) = delete;
  ~RecordStore();

  // Whether reads pass by the page cache, by a test of each file; else it is asked to drop what was
  // read, as it likes.
  bool direct() const { return direct_; }

  // Whole pages of a file of the plan, into whole pages of memory; a file's last page may be shorter.
  // From any thread. Throws Failure, which names file and offset.
  void read(size_t file, int64_t offset, int64_t bytes, char *into) const;

 private:
  struct Opened {
    std::string path;
    int64_t bytes;
    int handle;
  };
  void open_files(const Plan &plan, int how);
  void close_files();
  bool all_pass_the_cache() const;

  const Way way_;
  bool direct_ = false;
  std::map<size_t, Opened> files_;  // by their index in the plan
};

}  // namespace pocket
