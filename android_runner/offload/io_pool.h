// Threads that read records: each read lands in pages of its thread, which copies the records to
// where they are wanted. Batches are read in the order in which they are given, and those that are
// given ahead when there is nothing else to read.
#pragma once
#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/failure.h"
#include "base/pages.h"
#include "offload/imitation.h"
#include "offload/record_store.h"

namespace pocket {

// A piece of a read, and where it goes.
struct Copy {
  int64_t from, bytes;  // from: counted from the read's first byte
  char *to;
};

struct ReadOrder {
  size_t file;  // of the plan
  int64_t offset, bytes;
  std::vector<Copy> copies;
};
using Batch = std::vector<ReadOrder>;

struct IoCounts {
  int64_t reads = 0, read = 0, used = 0;  // bytes of reads, and of what was copied out of them
  int64_t ahead_reads = 0, ahead_read = 0;  // likewise, of batches that were given ahead
  std::map<int64_t, int64_t> sizes;       // reads by their bytes
  double imitated_s = 0, late_s = 0;      // of an imitation: its reading, and what that was late by
  double late_share = 0;
};

class IoPool {
 public:
  // `threads` read at once. `imitated`: nothing is done sooner than that flash would have it. Throws
  // Failure where a thread can't be started.
  IoPool(const RecordStore &store, size_t threads, int64_t largest_read,
         std::optional<FlashModel> imitated = {});
  IoPool(const IoPool &) = delete;
  IoPool &operator=(const IoPool &) = delete;
  ~IoPool();  // cancels

  // The batch's number. What the copies go to must stay until it is waited for, or cancelled.
  uint64_t submit(Batch batch);
  // Likewise; it is read between others, and becomes urgent when it is waited for.
  uint64_t submit_ahead(Batch batch);
  // Likewise, of what may never be wanted: these are read when there is nothing else to read, each
  // whole once it is begun, and count as any other batch but for what is used of them. The first
  // one's number; the others follow.
  uint64_t submit_later(std::vector<Batch> batches);
  // Of these, from `first` on: what is wanted is read before what is given from here on, and what is
  // neither wanted nor begun is forgotten. Answers for each whether it was.
  std::vector<bool> sort_out(uint64_t first, const std::vector<bool> &wanted);
  // Until all copies of the batch are made, once for each batch. Throws the Failure of its first read
  // that failed: then nothing that the batch was to bring may be used.
  void wait(uint64_t batch);
  bool done(uint64_t batch) const;  // whether nobody would wait for it
  // Until nothing is under way. What hasn't been begun is never read, and waiting for it fails.
  void cancel();

  // Others in place of its threads; when nothing is under way. Throws as the constructor does.
  void refit(size_t threads, int64_t largest_read);
  // Another flash is imitated from here on; only where one was.
  void imitate(const FlashModel &flash);
  bool imitates() const { return imitation_.has_value(); }

  IoCounts counts() const;
  double reading_s() const;  // that some batch was under way
  // From `on` to off nothing is counted but batches given ahead: these go on, whoever tries what.
  void set_aside(bool on);

 private:
  struct Pending {
    Batch reads;
    size_t begun = 0, ended = 0;
    double due = 0;  // by the imitation's clock
    std::optional<Failure> failure;
    bool done = false, ahead = false, later = false;
    bool charged = false, counted = false;  // counted: among those under way
    bool awaited = false;  // by somebody who sleeps: nobody else is woken, the cores compute
  };
  using Shared = std::shared_ptr<Pending>;

  struct Reader {  // a thread
    IoPool *pool;
    Pages pages;
    pthread_t thread;
  };

  bool sort_out(uint64_t batch, bool wanted);
  uint64_t add(const Shared &pending, std::deque<Shared> &queue);
  void charge(Pending &batch);
  void hurry(const Shared &batch);
  void add_readers(size_t threads, int64_t largest_read);
  void add_reader(size_t largest_read);
  static void *start(void *reader);
  void work(char *pages);
  void finish(std::unique_lock<std::mutex> &held, const Shared &batch, const ReadOrder &order,
              std::optional<Failure> failure);
  void pace(std::unique_lock<std::mutex> &held, double due);
  void close();
  void begin(const Shared &batch, std::deque<Shared> &queue);
  void count(Pending &batch);
  void end(Pending &batch);
  std::optional<Failure> perform(const ReadOrder &order, char *pages) const;
  double seconds(const Batch &batch) const;

  const RecordStore &store_;
  int64_t largest_read_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable given_, done_;
  std::deque<Shared> waiting_, ahead_;  // with reads to begin
  std::map<uint64_t, Shared> batches_;  // not waited for yet
  uint64_t numbers_ = 0;
  size_t busy_ = 0;  // threads
  size_t under_way_ = 0;  // batches
  double since_ = 0, reading_s_ = 0;  // when the first of these was given; of those before
  bool closed_ = false, cancelling_ = false;
  IoCounts counts_, kept_;  // kept: while nothing is counted
  std::optional<Imitation> imitation_;
  std::deque<Reader> readers_;  // where they stay
};

}  // namespace pocket
