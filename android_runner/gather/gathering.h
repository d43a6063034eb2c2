// One run of the step gather: reads and launches of what the machine has decided.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "gather/gather_memory.h"
#include "gather/read_ahead.h"
#include "gather/second_engine.h"
#include "offload/cluster_reads.h"

namespace pocket {

// A launch of a gather's dispatches.
struct GatheredLaunch {
  cl::Memory ticket, slots;  // none: threads compute it, and the device has nothing to do for it
  int64_t records;
  bool last;  // of the gather
  bool first = false;  // of these only the first parts are there: other dispatches take them
};
using GatherLaunches = std::function<void(const GatheredLaunch &)>;

// Seconds that the host waited for reads; and of these, at most, the ones in which the device had
// nothing to do. Records that a prefetch had read.
struct ReadWaits {
  double waited_s = 0, stalled_s = 0;
  int64_t taken = 0;
};

// What a gather's launches wait for: each cluster for its own reads; all but the first for all of
// them; or every one of them for all. Where staging can't hold all of them, for as many as it holds:
// the next reads begin when these launches have ended.
enum class Overlap { Cluster, Matrix, Off };

class Gathering {
 public:
  Gathering(const Plan &plan, size_t table, const Machine &machine, GatherMemory &memory,
            IoPool &pool, ReadAhead &ahead, Overlap overlap, Gathered found)
      : number_(table),
        table_(plan.tables[table]),
        machine_(machine),
        memory_(memory),
        pool_(pool),
        ahead_(ahead),
        overlap_(overlap),
        found_(std::move(found)) {}
  Gathering(const Gathering &) = delete;
  Gathering &operator=(const Gathering &) = delete;

  size_t table() const { return number_; }
  const Gathered &found() const { return found_; }

  // Has read, from now on, the records of as many clusters as there is a place for; true: of all.
  // Before the first launch, too.
  bool submit();
  // Launches in the machine's order, each when its records have come. `meanwhile` is called wherever
  // a place for further reads may have become free; `early`, which may wait for the device, where
  // records are to be waited for, and at the end. `second`: computes some of them in the device's
  // place, if there is one.
  ReadWaits conduct(cl::Queue queue, const GatherLaunches &launch, SecondEngine *second,
                    const std::function<void()> &meanwhile,
                     const std::function<void()> &early = [] {});
  // Somebody has made the launch that needs no choice, if there is one.
  void took_dense() {
    took_dense_ = found_.dense;
    begins_ = !took_dense_;
  }
  // After a failure, when the pool is cancelled: none of its reads is under way, whatever became of
  // them.
  void settle();

 private:
  struct Reads {
    uint64_t batch;  // of the pool
    int64_t begin;   // of its records in staging, in bytes
    bool staged;     // whether there are any
  };
  bool is_submitted() const { return reads_.size() == found_.clusters.size(); }
  bool submit_next(bool wait);
  void submit_in_turn();
  size_t staged(const Cluster &cluster) const;
  bool may_fill_slots(bool wait);
  Batch in_order(const std::vector<Landing> &landings, const Cluster &cluster, char *to) const;
  void fill_begun(const Cluster &cluster, int64_t begin) const;
  char *place(const Landing &landing, size_t number, int64_t begin) const;
  void await_until(size_t end, const std::function<void()> &early);
  void await(const Cluster &cluster, const Reads &reads, const std::function<void()> &early);
  Batch take_ahead(const Cluster &cluster, const Reads &reads);
  void compute(size_t number, Reads reads, const GatherLaunches &launch,
               const std::function<void()> &meanwhile);
  void launch_on_threads(const Cluster &cluster, const GatherLaunch &launch, int64_t begin);
  void upload(const Cluster &cluster, int64_t begin) const;
  cl::Memory ticket(const GatherLaunch &launch, int64_t first);

  const size_t number_;
  const Table &table_;
  const Machine &machine_;
  GatherMemory &memory_;
  IoPool &pool_;
  ReadAhead &ahead_;
  const Overlap overlap_;
  const Gathered found_;
  cl::Queue queue_ = nullptr;  // of the launches
  SecondEngine *second_ = nullptr;
  std::vector<Reads> reads_;   // of each cluster that was submitted
  size_t waited_ = 0;          // of these
  std::optional<Ended> last_;  // launch
  bool took_dense_ = false;
  bool begins_ = true, fills_ = false;  // fills_: slots, which nobody looks at any more
  ReadWaits waits_;
};

}  // namespace pocket
