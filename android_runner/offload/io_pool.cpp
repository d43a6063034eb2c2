#include "offload/io_pool.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/os.h"

namespace pocket {
namespace {

void sleep_for(double seconds) {
  const double whole = std::floor(seconds);
  const timespec time = {static_cast<time_t>(whole),
                         static_cast<long>((seconds - whole) * 1e9)};
  nanosleep(&time, nullptr);
}

// As the kernel's sched_attr, which no header of every libc has.
struct Attributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};

// Where kernels have all cores, as with PoCL, a thread that wakes would wait for a whole slice of
// theirs, and what it imitates be late. So its own slices are short: Linux 6.12 lets it interrupt
// longer ones; before, nothing changes. A higher priority would take from kernels what they need.
void take_short_slices() {
  Attributes wish = {};
  wish.size = sizeof wish;
  wish.nice = static_cast<int32_t>(20 - syscall(SYS_getpriority, PRIO_PROCESS, 0));  // as it is
  wish.runtime = 100'000;  // nanoseconds
  syscall(SYS_sched_setattr, 0, &wish, 0);
}

// A read that begins no later than the one before it ended follows it.
bool follows(const Batch &batch, size_t i) {
  return i > 0 && batch[i].file == batch[i - 1].file &&
         batch[i].offset <= batch[i - 1].offset + batch[i - 1].bytes;
}

}  // namespace

IoPool::IoPool(const RecordStore &store, size_t threads, int64_t largest_read,
               std::optional<FlashModel> imitated)
    : store_(store) {
  if (imitated) imitation_.emplace(*imitated);
  add_readers(threads, largest_read);
}

void IoPool::refit(size_t threads, int64_t largest_read) {
  if (threads == readers_.size() && largest_read == largest_read_) return;
  close();
  add_readers(threads, largest_read);
}

void IoPool::imitate(const FlashModel &flash) {
  const std::lock_guard<std::mutex> held(mutex_);
  imitation_->become(flash);
}

void IoPool::add_readers(size_t threads, int64_t largest_read) {
  closed_ = false;
  largest_read_ = largest_read;
  try {
    for (size_t i = 0; i < threads; ++i) add_reader(static_cast<size_t>(largest_read));
  } catch (const std::bad_alloc &) {
    close();
    throw Failure("there is no memory to read weights into",
                  std::to_string(threads) + " threads read " + std::to_string(largest_read) +
                      " bytes each",
                  "end other programs");
  } catch (...) {
    close();
    throw;
  }
}

void IoPool::add_reader(size_t largest_read) {
  readers_.push_back({this, Pages(largest_read), {}});
  Reader &reader = readers_.back();
  const int code = pthread_create(&reader.thread, nullptr, start, &reader);
  if (code == 0) return;
  readers_.pop_back();
  throw Failure("no thread can be started to read weights", strerror(code),
                "end other programs, or allow this one more threads");
}

IoPool::~IoPool() {
  cancel();
  close();
}

void *IoPool::start(void *reader) {
  prctl(PR_SET_TIMERSLACK, 1);  // nanosecond: sleeps end when they should, not 50 µs later
  Reader &own = *static_cast<Reader *>(reader);
  if (own.pool->imitation_) take_short_slices();
  own.pool->work(own.pages.data());
  return nullptr;
}

double IoPool::seconds(const Batch &batch) const {
  double sum = imitation_->flash().latency_s();
  for (size_t i = 0; i < batch.size(); ++i)
    sum += imitation_->flash().seconds(
        batch[i].bytes, follows(batch, i) ? ReadPlace::Sequential : ReadPlace::Random);
  return sum;
}

uint64_t IoPool::submit(Batch batch) {
  const auto pending = std::make_shared<Pending>();
  pending->reads = std::move(batch);
  const std::lock_guard<std::mutex> held(mutex_);
  charge(*pending);
  return add(pending, waiting_);
}

uint64_t IoPool::submit_ahead(Batch batch) {
  const auto pending = std::make_shared<Pending>();
  pending->reads = std::move(batch);
  pending->ahead = true;
  const std::lock_guard<std::mutex> held(mutex_);
  return add(pending, ahead_);
}

uint64_t IoPool::submit_later(std::vector<Batch> batches) {
  const std::lock_guard<std::mutex> held(mutex_);
  const uint64_t first = numbers_ + 1;
  for (Batch &batch : batches) {
    const auto pending = std::make_shared<Pending>();
    pending->reads = std::move(batch);
    pending->later = true;
    add(pending, ahead_);
  }
  return first;
}

std::vector<bool> IoPool::sort_out(uint64_t first, const std::vector<bool> &wanted) {
  const std::lock_guard<std::mutex> held(mutex_);
  std::vector<bool> forgotten;
  for (const bool each : wanted) forgotten.push_back(sort_out(first++, each));
  return forgotten;
}

bool IoPool::sort_out(uint64_t batch, bool wanted) {
  const auto entry = batches_.find(batch);
  if (entry == batches_.end()) return true;  // waited for before
  const auto found = std::find(ahead_.begin(), ahead_.end(), entry->second);
  if (found == ahead_.end()) return false;
  ahead_.erase(found);
  if (wanted) {
    waiting_.push_back(entry->second);
    charge(*entry->second);
  } else {
    batches_.erase(entry);
  }
  return !wanted;
}

uint64_t IoPool::add(const Shared &pending, std::deque<Shared> &queue) {
  pending->done = pending->reads.empty();
  batches_[++numbers_] = pending;
  if (pending->done) return numbers_;
  queue.push_back(pending);
  if (!pending->ahead && !pending->later) count(*pending);
  given_.notify_all();
  return numbers_;
}

// The flash that is imitated is given the batch: now, or one that was given ahead, with its first
// read.
void IoPool::charge(Pending &batch) {
  if (std::exchange(batch.charged, true)) return;
  if (imitation_ && !batch.reads.empty())
    batch.due = imitation_->submit(now(), seconds(batch.reads));
}

void IoPool::hurry(const Shared &batch) {
  const auto found = std::find(ahead_.begin(), ahead_.end(), batch);
  if (found == ahead_.end()) return;
  waiting_.push_front(batch);
  ahead_.erase(found);
}

void IoPool::wait(uint64_t batch) {
  std::unique_lock<std::mutex> held(mutex_);
  const Shared pending = batches_.at(batch);
  hurry(pending);
  pending->awaited = true;
  done_.wait(held, [&] { return pending->done; });
  batches_.erase(batch);
  if (pending->failure) throw Failure(*pending->failure);
}

bool IoPool::done(uint64_t batch) const {
  const std::lock_guard<std::mutex> held(mutex_);
  return batches_.at(batch)->done;
}

void IoPool::cancel() {
  std::unique_lock<std::mutex> held(mutex_);
  waiting_.clear();
  ahead_.clear();
  cancelling_ = true;
  done_.wait(held, [&] { return busy_ == 0; });
  cancelling_ = false;
  for (const auto &entry : batches_) {
    Pending &pending = *entry.second;
    if (pending.done) continue;
    pending.failure = Failure("the weights were not read", "the run was cancelled", "run it again");
    end(pending);
  }
  done_.notify_all();
}

void IoPool::close() {
  {
    const std::lock_guard<std::mutex> held(mutex_);
    closed_ = true;
    given_.notify_all();
  }
  for (const Reader &reader : readers_) pthread_join(reader.thread, nullptr);
  readers_.clear();
}

void IoPool::count(Pending &batch) {
  batch.counted = true;
  if (under_way_++ == 0) since_ = now();
}

// What may wait has waited: nothing comes between its reads.
void IoPool::begin(const Shared &batch, std::deque<Shared> &queue) {
  charge(*batch);
  if (!batch->later) return;
  count(*batch);
  if (&queue == &waiting_) return;
  queue.pop_front();
  waiting_.push_front(batch);
}

void IoPool::end(Pending &batch) {
  batch.done = true;
  if (batch.counted && --under_way_ == 0) reading_s_ += now() - since_;
}

double IoPool::reading_s() const {
  const std::lock_guard<std::mutex> held(mutex_);
  return reading_s_ + (under_way_ ? now() - since_ : 0);
}

void IoPool::set_aside(bool on) {
  const std::lock_guard<std::mutex> held(mutex_);
  if (!on) {
    kept_.ahead_reads = counts_.ahead_reads;
    kept_.ahead_read = counts_.ahead_read;
  }
  (on ? kept_ : counts_) = on ? counts_ : kept_;
}

IoCounts IoPool::counts() const {
  const std::lock_guard<std::mutex> held(mutex_);
  IoCounts counts = counts_;
  if (!imitation_) return counts;
  counts.imitated_s = imitation_->busy_s();
  counts.late_s = imitation_->late_s();
  counts.late_share = imitation_->late_share();
  return counts;
}

void IoPool::work(char *pages) {
  std::unique_lock<std::mutex> held(mutex_);
  while (true) {
    given_.wait(held, [&] { return closed_ || !waiting_.empty() || !ahead_.empty(); });
    if (closed_) return;
    std::deque<Shared> &queue = waiting_.empty() ? ahead_ : waiting_;
    const Shared batch = queue.front();
    const ReadOrder &order = batch->reads[batch->begun];
    if (batch->begun == 0) begin(batch, queue);
    if (++batch->begun == batch->reads.size()) (batch->later ? waiting_ : queue).pop_front();
    ++busy_;
    held.unlock();
    std::optional<Failure> failure = perform(order, pages);
    held.lock();
    finish(held, batch, order, std::move(failure));
    if (--busy_ == 0 && cancelling_) done_.notify_all();
  }
}

std::optional<Failure> IoPool::perform(const ReadOrder &order, char *pages) const {
  try {
    store_.read(order.file, order.offset, order.bytes, pages);
  } catch (const Failure &failure) {
    return failure;
  } catch (...) {  // a thread's end is the program's
    return Failure("weights can't be read", "there is no memory for it", "end other programs");
  }
  for (const Copy &copy : order.copies)
    memcpy(copy.to, pages + copy.from, static_cast<size_t>(copy.bytes));
  return std::nullopt;
}

void IoPool::finish(std::unique_lock<std::mutex> &held, const Shared &batch,
                    const ReadOrder &order, std::optional<Failure> failure) {
  if (failure) {
    if (!batch->failure) batch->failure = std::move(failure);
  } else if (batch->ahead) {
    ++counts_.ahead_reads;
    counts_.ahead_read += order.bytes;
  } else {
    ++counts_.reads;
    counts_.read += order.bytes;
    ++counts_.sizes[order.bytes];
    for (const Copy &copy : order.copies) counts_.used += batch->later ? 0 : copy.bytes;
  }
  if (++batch->ended < batch->reads.size()) return;
  if (imitation_) pace(held, batch->due);
  end(*batch);
  if (batch->awaited) done_.notify_all();
}

// Sleeps until the flash that is imitated would be done.
void IoPool::pace(std::unique_lock<std::mutex> &held, double due) {
  for (double left; (left = imitation_->left(now(), due)) > 0;) {
    held.unlock();
    sleep_for(left);
    held.lock();
  }
  imitation_->finish(now(), due);
}

}  // namespace pocket
