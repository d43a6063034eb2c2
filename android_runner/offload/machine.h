// Decides a gather: which records, where they lie, what is read and in which launches they are
// used. It moves no bytes and looks at no clock, so that the runner, the readable executor and the
// simulator (toolkit/offload/machine.py, its twin) agree in every entry.
#pragma once
#include <optional>
#include <utility>
#include <vector>

#include "offload/coalesce.h"
#include "offload/flash_model.h"
#include "offload/record_cache.h"
#include "offload/selectors.h"

namespace pocket {

// One launch of a gather's dispatches. Slots are those of the table's memory; or of staging, from
// the cluster's first place there.
struct GatherLaunch {
  bool staged;
  std::vector<Placed> records;  // ascending
  bool resident = false;        // before the gather: nothing is read for it
};

// Reads that are waited for together, and what is computed then: at most a launch over slots and one
// over staging, and some of what was resident. The first cluster of a gather has no reads. A gather
// that selects nothing still has a launch, of no record: sums begin at 0.
struct Cluster {
  size_t first_run, runs;  // of Gathered::runs
  std::vector<GatherLaunch> launches;
};

// What a gather reads first, of records that are missing.
struct Glimpse {
  std::vector<int32_t> selected;  // by the gather; ascending
  Begun begun;                    // of these, those of which the first pages are read
  std::vector<FlashRun> runs;     // these reads
  int64_t read = 0, spared = 0;   // bytes: of the runs; of a record that aren't read where it is left
  std::vector<Placed> hits;       // of the selected: resident
};

struct Gathered {
  std::vector<int32_t> selected;  // records, ascending
  Admission placed;
  std::vector<int32_t> missed;  // admitted and streamed ones, in order of address
  std::vector<FlashRun> runs;   // their reads
  std::vector<Cluster> clusters;
  int32_t always = 0;          // records, the first ones, that are computed in any case
  bool dense = false;          // the first launch is of these
  double seconds = 0;          // of the reads, if nothing else is read meanwhile
  int64_t read = 0, used = 0;  // bytes: of the runs, and of the records that were missing
  std::vector<int32_t> ahead;  // of the missing: those that a prefetch has read; ascending
  std::optional<Glimpse> glimpse = {};  // what was read before
  std::vector<int32_t> left = {};       // of its records: nothing more is read of them; ascending
};

// What a prefetch reads.
struct Ahead {
  std::vector<int32_t> records;  // in groups of AT_ONCE, the surest first; ascending within each
  std::vector<FlashRun> runs;    // of these groups
  int64_t read = 0;              // bytes
};
constexpr size_t AT_ONCE = 4;  // records of a prefetch, at most, whose reads belong together

// Of a table: what was read ahead and no gather has asked for yet, and whether that is worth it, by
// group. toolkit/offload/prediction/foresight.py counts alike.
struct Foresight {
  struct Group {
    int64_t read = 0, needed = 0;  // records
  };
  std::vector<int32_t> records;  // as of Ahead
  std::vector<Group> groups;     // the surest first

  int64_t most(int64_t wanted, int64_t step) const;
  std::vector<int32_t> found(const std::vector<int32_t> &misses);
};

// By table: records in memory, those to keep longest first.
using RecordLists = std::vector<std::vector<int32_t>>;

// What another point does to a table: how its slots change, and what is read at once.
struct Change {
  Resize resize;
  std::vector<Placed> admitted;  // what is pinned now, and at the start of a warm set; ascending
  std::vector<FlashRun> runs;    // their reads
  double seconds;
};

// What reads of one batch take. One that begins no later than the one before it ended is sequential.
double seconds_of(const std::vector<FlashRun> &runs, const FlashModel &flash);

class Machine {
 public:
  // `orders`: of each table the index that each record holds; empty where it is its own number.
  // `importance`: of each table as Ranks has it, or no list at all. It has no slots before `change`.
  Machine(const std::vector<Table> &tables, std::vector<std::vector<int32_t>> orders,
          FlashModel flash, std::vector<std::vector<float>> importance = {});

  // The point from the next gather on: the first, or another; what was used how often is kept. The
  // answer tells for each table what is to be moved and read at once. Throws Failure where the
  // policy is unknown.
  // `warm`: of the first point, what to fill free slots with, as far as the policy keeps any.
  std::vector<Change> change(const Point &point, const RecordLists &warm = {});
  // `step` counts a text's tokens from 0. `tile`: the most records of a launch, and reads are of
  // equal ones; 0: clusters are of the point's size, and what is resident is one launch.
  // `glimpse`: what has been read of its records; `left`: those that nothing more is needed of.
  Gathered gather(size_t table, const Select &rule, const Scores &scores, int64_t step,
                  size_t tile = 0, std::optional<Glimpse> glimpse = {},
                  std::vector<int32_t> left = {});

  // What a gather reads to know of which missing records it needs the rest, `first` bytes of each: of
  // as many as a launch takes. It changes no cache.
  Glimpse glimpse(size_t table, const Select &rule, const Scores &scores, int64_t first) const;

  // Records, the first ones, that such a gather computes whether they are selected or not. Where all
  // is pinned there are none: a device that chooses itself waits for nobody.
  int32_t dense(size_t table, const Select &rule) const;
  // The launch of those of them that are resident: it comes before the others of the gather.
  GatherLaunch dense_launch(size_t table, const Select &rule) const;

  // What to read now for the next gather of this table, which changes no cache; at most so many
  // records. `rule`: of that gather. `scores`: as it will have them, about.
  Ahead prefetch(size_t table, const Select &rule, const Scores &scores, int64_t step, int64_t most);

  // Nothing is there any more of what prefetches were to read.
  void forget_ahead() {
    for (Foresight &each : foresight_) each.records.clear();
  }

  // What a gather would select of what is resident, in its launches; of ids all, for sums may lack
  // records but no token its row: what isn't resident is streamed. Nothing is used or moved by it.
  Gathered rehearse(size_t table, const Select &rule, const Scores &scores, size_t tile = 0) const;

  // A read failed, or was never made: the records that it was to bring are in no slot.
  void lose(size_t table, const std::vector<int32_t> &records) { caches_[table].lose(records); }

  int32_t index(size_t table, int32_t record) const {
    return orders_[table].empty() ? record : orders_[table][record];
  }
  const RecordCache &cache(size_t table) const { return caches_[table]; }
  const Point &point() const { return point_; }

 private:
  std::vector<int32_t> select_records(size_t table, const Select &rule,
                                      const Scores &scores) const;
  int32_t record(size_t table, int32_t index) const {
    return record_of_[table].empty() ? index : record_of_[table][index];
  }
  Joining joining(size_t cluster) const { return {point_.gap, point_.max_read, cluster}; }

  const std::vector<Table> &tables_;
  Point point_ = {};
  bool begun_ = false;  // whether there was a point
  const std::vector<std::vector<int32_t>> orders_;
  std::vector<std::vector<int32_t>> record_of_;  // by index; empty: the same
  std::vector<RecordCache> caches_;
  std::vector<Foresight> foresight_;
  const FlashModel flash_;
};

}  // namespace pocket
