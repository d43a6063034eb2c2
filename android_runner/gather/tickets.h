// Which records a launch of a gather's dispatches takes, as kernels read it: i32 count, begins, 0,
// 0, then the slot and the index of each record. A few in turn, each until its launch has ended.
#pragma once
#include <deque>
#include <vector>

#include "gather/ended.h"
#include "gather/shared_memory.h"
#include "plan/tables.h"

namespace pocket {

class Tickets {
 public:
  static constexpr size_t HEAD = TICKET_HEAD;

  Tickets(const Device &device, int64_t most);  // records of a ticket

  static int64_t bytes(int64_t most);  // of one
  static constexpr size_t COUNT = 4;

  // The next one, filled: `pairs` are slots and indices; where it begins, sums start at 0.
  cl::Memory fill(cl::Queue queue, const std::vector<int32_t> &pairs, bool begins);
  void launched(const Ended &ended) { ring_[turn_].ended = ended; }  // the last one

  cl::Memory any() const { return ring_[0].memory.get(); }

 private:
  struct Ticket {
    SharedMemory memory;
    std::vector<int32_t> words;  // where the memory isn't the host's
    Ended ended;
  };
  std::deque<Ticket> ring_;
  size_t turn_ = 0;
};

}  // namespace pocket
