// Memory that the host fills, piece by piece, while kernels read other pieces: slots of a table,
// streamed records, tickets.
#pragma once
#include <optional>
#include <string>

#include "base/pages.h"
#include "opencl/device.h"

namespace pocket {

class SharedMemory {
 public:
  // Of so many bytes, and at most `most` after a `resize`.
  SharedMemory(const Device &device, int64_t bytes, const std::string &what, int64_t most = 0);

  // Another buffer: nobody may use the one before any more, nor does anything that it was given to.
  // What of the content has room in it stays; what has none gives its memory back.
  void resize(const Device &device, int64_t bytes, const std::string &what);

  // On a CPU both have the same pages. A GPU may keep them in caches that the host's writes don't
  // reach: there a queue brings what changed.
  static bool is_one(const Device &device);

  cl::Memory get() const { return memory_.get(); }
  char *host() const { return pages_ ? pages_->data() : nullptr; }  // none: `write`
  // In the queue's order; `data` stays until it has ended.
  void write(cl::Queue queue, int64_t offset, const void *data, int64_t bytes) const;

  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_;
  std::optional<Pages> pages_;  // first: outlives the buffer that uses it
  cl::Owned<cl::Memory> memory_;
};

}  // namespace pocket
