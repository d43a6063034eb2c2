// The slots of a table: which record lies where, what comes and what goes. It moves no memory and
// nothing in it is random: toolkit/offload/record_cache.py agrees to the last entry.
#pragma once
#include <cstdint>
#include <vector>

#include "offload/policies.h"

namespace pocket {

struct Placed {
  int32_t record, slot;
};
std::vector<int32_t> records_of(const std::vector<Placed> &placed);

// What a step does to a cache. Records ascend where nothing else is said.
struct Admission {
  std::vector<Placed> hits;       // needed and resident before
  std::vector<Placed> admitted;   // in the order of admission: slots ascend
  std::vector<int32_t> streamed;  // needed, neither resident nor admitted
  std::vector<int32_t> evicted;   // in the order of eviction: by (rank, record)
};

// What a change of size does to a cache, in this order.
struct Resize {
  struct Move {
    int32_t record, from, to;
  };
  std::vector<int32_t> evicted;  // by (rank, record); where all are pinned: what lay elsewhere
  std::vector<Move> moved;       // those above the new end, in the order of their slots
  std::vector<Placed> admitted;  // pinned now, and not resident before: they are to be read
};

class RecordCache {
 public:
  // Without slots at first. `importance`: as of Ranks.
  explicit RecordCache(int32_t count, std::vector<float> importance = {});

  void follow(Policy policy) { ranks_.follow(policy); }  // from the next step on

  // Of the policy of that name: steps, from the next one on; it changes itself from there.
  void set_window(int64_t steps) { window_ = steps; }

  // Notes the records that a step needs (ascending, each once) and makes room for them. `whole`:
  // they are all, whatever the text.
  Admission admit(const std::vector<int32_t> &selected, int64_t step, bool whole = false);

  // Another number of slots, and of records, from the first, that never leave: as many as there is
  // room for. Where these are all, each lies in the slot of its number: a device finds it there itself.
  Resize resize(int32_t slots, int32_t pinned);

  // At the start: as many of these records as there are free slots for, the first ones, each in the
  // list once. They count as used once; a policy that keeps to what is pinned takes none. Ascending.
  std::vector<Placed> open(const std::vector<int32_t> &records);

  // These were to be read and never came: they are in no slot.
  void lose(const std::vector<int32_t> &records);

  int32_t slot(int32_t record) const { return slot_of_[record]; }  // -1: it has none
  int32_t slots() const { return static_cast<int32_t>(record_in_.size()); }
  std::vector<Placed> resident() const;
  std::vector<int32_t> by_worth() const;  // what is resident, what would leave last comes first

 private:
  void drop(const std::vector<int32_t> &records);
  std::vector<Placed> place(const std::vector<int32_t> &records);
  std::vector<int32_t> astray() const;
  std::vector<int32_t> lowest(const std::vector<int32_t> &candidates, size_t count) const;
  std::vector<int32_t> victims(const std::vector<int32_t> &selected, size_t misses,
                               int64_t step) const;
  std::vector<int32_t> expired(const std::vector<int32_t> &candidates, size_t count,
                               int64_t step) const;

  Ranks ranks_;
  int32_t pinned_ = 0;
  int64_t window_ = 1;
  std::vector<int32_t> slot_of_;    // by record; -1: none
  std::vector<int32_t> record_in_;  // by slot; -1: free
};

}  // namespace pocket
