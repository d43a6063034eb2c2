// Where records lie that a gather uses once, and those on their way to slots that only a queue can
// fill: a ring of bytes, each piece taken until the launch that reads it has ended.
#pragma once
#include <deque>
#include <optional>

#include "base/failure.h"
#include "gather/ended.h"
#include "gather/shared_memory.h"

namespace pocket {

Failure no_place();  // where `take` gives nothing, though it was to wait

class Staging {
 public:
  Staging(const Device &device, int64_t bytes);

  // Where `count` records of `bytes` each can be put: a multiple of their bytes, so that kernels can
  // count places from the memory's start. Nothing while others may still be read there; with `wait`
  // until that has ended: then all of those are to be in launches.
  std::optional<int64_t> take(int64_t count, int64_t bytes, bool wait);
  void launched(int64_t begin, const Ended &ended);  // what was taken there is read until then
  void forget();  // what was taken and is in no launch
  // Another size, when all launches that read there have ended.
  void resize(const Device &device, int64_t bytes);

  cl::Memory get() const { return memory_.get(); }
  const SharedMemory &memory() const { return memory_; }
  char *host() const { return landing_ ? landing_->data() : memory_.host(); }

 private:
  struct Piece {
    int64_t begin, end;
    std::optional<Ended> ended;  // none: it is in no launch yet
  };
  bool is_free(int64_t begin, int64_t end, bool wait);

  int64_t bytes_;
  SharedMemory memory_;
  std::optional<Pages> landing_;  // where the memory isn't the host's
  std::deque<Piece> pieces_;      // in use, the oldest first
  int64_t at_ = 0;
};

}  // namespace pocket
