// The tables of a plan as one of its points runs them, and the step gather: the machine decides,
// threads read, and launches follow in the machine's order, whatever comes first.
// toolkit/executors/opencl/gather/ does the same, one thing after the other.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gather/first_parts.h"
#include "gather/gathers_ahead.h"
#include "gather/warm_set.h"
#include "offload/access_trace.h"
#include "offload/governor.h"

namespace pocket {

struct GatherOptions {
  std::optional<int64_t> memory;  // bytes that the run takes at most; none: as the last point
  bool automatic = false;         // what the system has to give, looked at again and again
  int64_t mapped = 0;             // bytes of these that are files, which a system counts as given
  std::optional<FlashModel> imitated;
  std::string overlap = "cluster";  // or matrix, or off
  std::string engine;  // device, threads or both; empty: as the point says
  std::string trace;  // a file for a line on each gather; empty: none
  std::string warm;   // a folder with what was in memory when runs ended; empty: every start is cold
};

// The memory of the numbers or ids that a gather selects by, and how many it has in this run.
struct SelectedBy {
  cl::Memory memory = nullptr;
  int64_t count = 0;
  cl::Memory first = nullptr;  // what says of which records more than their first parts is needed
};

class Gatherer {
 public:
  // Begins to read what is pinned, and what was in memory when the plan's last run ended: that goes
  // on while others work, and a gather waits for its table's. Throws Failure.
  Gatherer(const Plan &plan, const Device &device, const GatherOptions &options);

  // Waits for tables that are read whole: gathers of these may be launched like any other steps.
  // Throws Failure.
  void settle_whole();

  // Keeps what is in memory for the next start, if anything ran; false where it can't be written.
  bool keep_warm() const;

  // Of a phase with these gathers, in order: uses of records are counted in runs. What the first of
  // them need for sure is read. `taken`: records in memory that others take as ordinary dispatches,
  // beside those that the device counts.
  void begin_run(const std::vector<const GatherStep *> &gathers, int64_t taken);

  // A gather whole: it launches its dispatches as often as there are parts of what it selects, by
  // what `by` has.
  // `unit`: where threads may help.
  void run(const Step &step, cl::Queue queue, const SelectedBy &by, const UnitMemory &unit,
           const GatherLaunches &launch);
  // Whether they may: then nothing else may go with a launch of it.
  bool helps(const GatherStep &gather) const { return !rehearsed_ && second_.helps(gather); }

  // What the gather under way begins to read for the one after it, by what `by` has; behind its own
  // reads.
  void prefetch(const Step &step, cl::Queue queue, const SelectedBy &by);
  // How many records at most; 0: it is as if the step were not there. So it is where the gather behind
  // it has its whole table in memory: that may be ordinary dispatches, and its scratch lives no longer.
  int64_t reads_ahead(const PrefetchStep &prefetch) const;

  // The run failed, in a gather or elsewhere: no slot holds what never came.
  void abandon();

  // Until it ends, gathers compute with what is resident, read nothing but rows that ids choose, and
  // leave no trace: launches are tried out, as often as it takes, and what a text meets must not
  // depend on that.
  class Rehearsal {
   public:
    explicit Rehearsal(Gatherer *gatherer) : gatherer_(gatherer) { set(true); }
    ~Rehearsal() {
      try {
        set(false);
      } catch (const Failure &) {  // of a device that fails everywhere else, too
      }
    }
    Rehearsal(const Rehearsal &) = delete;
    Rehearsal &operator=(const Rehearsal &) = delete;

   private:
    void set(bool on) const {
      if (!gatherer_) return;
      gatherer_->rehearse(on);
      gatherer_->pool_.set_aside(on);
    }
    Gatherer *const gatherer_;  // none: the plan has no tables
  };

  // Whether the gather is ordinary dispatches, by the ticket and slots that these say, from here on:
  // all of its records lie in memory, and nobody asked which of them are used.
  bool is_resident(const GatherStep &gather) const;
  const ResidentGathers &resident() const { return memory_.resident; }
  cl::Memory slots(const GatherStep &gather) const { return memory_.slots[gather.table].get(); }

  // Another budget, in bytes, from the next run on. True where its point is another one: kernels that
  // had slots are to be given them anew. Throws Failure, and changes nothing, where the plan doesn't
  // run in so little.
  bool use(int64_t memory);
  // Between runs, after so many tokens. True where it went on to another point, likewise.
  bool govern(int64_t tokens);
  // Imitates another flash from here on; throws Failure where none is imitated.
  void imitate(const FlashModel &flash);
  int64_t memory() const { return point_.memory; }  // bytes that the run takes
  double waited_s() const { return waits_.waited_s; }  // for reads

  // What kernels may be given before the first launch.
  cl::Memory any_ticket() const { return memory_.tickets.any(); }
  cl::Memory any_slots() const { return memory_.staging.get(); }

  // As JSON: what it runs with, and what it has done so far.
  std::string facts() const;
  std::string counts() const;

 private:
  Select rule_of(const GatherStep &gather) const;
  std::vector<char> read_scores(const GatherStep &gather, cl::Queue queue, const SelectedBy &by,
                                const std::function<void()> &meanwhile) const;
  void read_ahead();
  void open(const RecordLists &warm);
  void open_table(size_t table, const Change &change);
  void settle(size_t table);
  void settle_all();
  void await_opening(size_t table);
  bool is_open(size_t table);
  Point possible(std::optional<int64_t> memory, double flash) const;
  bool go_on(const Point &point, std::optional<int64_t> memory);
  void refit(const Point &point, const std::vector<Change> &changes);
  void read_pinned(const std::vector<Change> &changes);

  Engines engine_of(const Point &point) const;
  void rehearse(bool on);
  void rehearse(const GatherStep &gather, const Scores &scores, cl::Queue queue,
                const GatherLaunches &launch);
  void note_tokens(int64_t tokens);
  std::optional<Point> wanted(const Governor::Choice &choice);
  std::optional<int64_t> room() const;
  int64_t unwritten_bytes() const;

  struct Used {  // a point, and how many tokens it was used for
    int64_t memory;
    double flash;
    std::string policy;
    int64_t tokens;
  };

  const Plan &plan_;
  const Device &device_;
  Point point_;
  const std::optional<FlashModel> planned_;  // that points are for; none: not known
  const std::string overlap_word_, engine_word_;
  const Overlap overlap_;
  bool automatic_;
  const int64_t mapped_;
  Machine machine_;
  const WarmSet warm_;
  std::unique_ptr<AccessTrace> trace_;
  GatherMemory memory_;
  SecondEngine second_;  // its threads read from that
  const RecordStore store_;
  IoPool pool_;         // its threads write to all of that
  FirstParts first_;
  ReadAhead read_ahead_;
  const std::vector<size_t> behind_;  // tables, of each prefetch: of the gather right behind it
  struct Noted {  // a prefetch, and its numbers once `read` is done
    const PrefetchStep *step = nullptr;
    std::vector<float> scores;
    Ended read;
  } noted_;
  GathersAhead ahead_;  // last: reads of the pool
  struct Opening {
    uint64_t batch;  // of the pool
    std::vector<int32_t> records;
  };
  std::vector<std::optional<Opening>> opening_;  // of each table, until a gather has waited for it
  int64_t warm_records_ = 0;
  int64_t mapped_slots_ = 0;  // bytes of a device's own memory that the host filled at the start
  bool rehearsed_ = false;
  int64_t step_ = -1;                // of the run
  int64_t selected_ = 0, hits_ = 0, taken_ = 0;  // taken: bytes that prefetches had read; others: records, of all gathers
  ReadWaits waits_;                  // of all gathers
  Governor governor_;
  double predicted_s_ = 0, seen_s_ = 0;  // of reads since the governor was told; when it was
  std::vector<Used> used_;  // the last ones
};

}  // namespace pocket
