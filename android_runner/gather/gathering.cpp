#include "gather/gathering.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/os.h"

namespace pocket {
namespace {

bool follows(const Landing &one, const Landing &next) {
  return one.staged == next.staged && one.slot + 1 == next.slot;
}

}  // namespace

bool Gathering::submit() {
  while (!is_submitted())
    if (!submit_next(false)) return false;
  return true;
}

ReadWaits Gathering::conduct(cl::Queue queue, const GatherLaunches &launch, SecondEngine *second,
                             const std::function<void()> &meanwhile,
                             const std::function<void()> &early) {
  queue_ = queue;
  second_ = second;
  for (size_t i = 0; i < found_.clusters.size(); ++i) {
    const bool all = overlap_ == Overlap::Off || (overlap_ == Overlap::Matrix && i > 0);
    if (all) submit_in_turn();
    if (reads_.size() == i && !submit_next(true))
      throw no_place();
    const bool alone = overlap_ == Overlap::Off || (all && !is_submitted());
    const std::function<void()> others = alone ? [] {} : meanwhile;
    others();
    await_until(all ? reads_.size() : i + 1, early);  // at least this one's
    compute(i, reads_[i], launch, others);
  }
  early();
  if (second_) second_->end(queue_, !begins_);
  return waits_;
}

// As many as there is a place for, when nothing is computed: where staging can't hold all records,
// reads and launches take turns.
void Gathering::submit_in_turn() {
  if (is_submitted()) return;
  (last_ ? *last_ : Ended(queue_)).wait();
  while (!is_submitted() && submit_next(true)) {
  }
}

// What the next cluster needs. False where its records have no place yet.
bool Gathering::submit_next(bool wait) {
  const Cluster &cluster = found_.clusters[reads_.size()];
  const auto lands = [](const GatherLaunch &launch) { return !launch.resident; };
  if (std::any_of(cluster.launches.begin(), cluster.launches.end(), lands) && !may_fill_slots(wait))
    return false;
  const auto count = static_cast<int64_t>(staged(cluster));
  const auto begin = memory_.staging.take(count, table_.bytes, wait);
  if (!begin) return false;
  char *staging = memory_.staging.host() + *begin;
  Batch batch = memory_.shares ? reads_of(table_, found_, cluster, memory_.slots[number_].host(),
                                          staging)
                               : in_order(landings_of(cluster), cluster, staging);
  fill_begun(cluster, *begin);
  reads_.push_back({pool_.submit(std::move(batch)), *begin, count > 0});
  return true;
}

// What was read first comes to the places where the rest is read to.
void Gathering::fill_begun(const Cluster &cluster, int64_t begin) const {
  if (!found_.glimpse) return;
  const Begun &begun = found_.glimpse->begun;
  const std::vector<Landing> landings = landings_of(cluster);
  for (size_t i = 0; i < landings.size(); ++i) {
    const auto at = std::lower_bound(begun.records.begin(), begun.records.end(), landings[i].record);
    if (at == begun.records.end() || *at != landings[i].record) continue;
    memcpy(place(landings[i], i, begin), memory_.begun.data() + (at - begun.records.begin()) * begun.bytes,
           static_cast<size_t>(begun.bytes));
  }
}

// Records that need a place in staging.
size_t Gathering::staged(const Cluster &cluster) const {
  size_t count = 0;
  for (const GatherLaunch &each : cluster.launches)
    if (!each.resident && (each.staged || !memory_.shares)) count += each.records.size();
  return count;
}

// Where reads land in slots themselves, nobody may still look at what these had. This gather's own
// launches don't.
bool Gathering::may_fill_slots(bool wait) {
  if (fills_ || !memory_.shares || found_.placed.admitted.empty()) return true;
  if (wait) memory_.looked[number_].wait();
  fills_ = wait || memory_.looked[number_].seen();
  return fills_;
}

// One record behind the other, until a queue brings them to their places.
Batch Gathering::in_order(const std::vector<Landing> &landings, const Cluster &cluster,
                          char *to) const {
  std::vector<int32_t> records;
  std::vector<char *> places;
  for (size_t i = 0; i < landings.size(); ++i) {
    if (among(found_.ahead, landings[i].record)) continue;
    records.push_back(landings[i].record);
    places.push_back(to + static_cast<int64_t>(i) * table_.bytes);
  }
  return reads_of(table_, found_.runs.data() + cluster.first_run, cluster.runs, records, places,
                  found_.glimpse ? found_.glimpse->begun : Begun());
}

void Gathering::await_until(size_t end, const std::function<void()> &early) {
  while (waited_ < end) {
    const size_t next = waited_++;
    await(found_.clusters[next], reads_[next], early);
  }
}

// Reads cost time where the device, by then, had computed all that it was given. What is there is
// computed before anything else is begun.
void Gathering::await(const Cluster &cluster, const Reads &reads,
                      const std::function<void()> &early) {
  const bool none = std::all_of(cluster.launches.begin(), cluster.launches.end(),
                                [](const GatherLaunch &each) { return each.resident; });
  if (none || (found_.ahead.empty() && pool_.done(reads.batch))) return pool_.wait(reads.batch);
  const Ended given = last_ ? *last_ : Ended(queue_);
  if (!pool_.done(reads.batch)) early();
  const double before = now();
  Batch again = take_ahead(cluster, reads);
  pool_.wait(reads.batch);
  if (!again.empty()) pool_.wait(pool_.submit(std::move(again)));
  const double waited_s = now() - before;
  waits_.waited_s += waited_s;
  if (!given.busy()) waits_.stalled_s += waited_s;
}

// Where reads of a landing go: the cluster's so many.
char *Gathering::place(const Landing &landing, size_t number, int64_t begin) const {
  char *const staging = memory_.staging.host() + begin;
  if (!memory_.shares) return staging + static_cast<int64_t>(number) * table_.bytes;
  char *const base = landing.staged ? staging : memory_.slots[number_].host();
  return base + landing.slot * table_.bytes;
}

// What a prefetch has read comes to its places. What it couldn't read is to be read again, with no
// record between that nobody needs: the failure may have been of that.
Batch Gathering::take_ahead(const Cluster &cluster, const Reads &reads) {
  if (found_.ahead.empty()) return {};
  std::vector<int32_t> lacking;
  std::vector<char *> places;
  const std::vector<Landing> landings = landings_of(cluster);
  for (size_t i = 0; i < landings.size(); ++i) {
    if (!among(found_.ahead, landings[i].record)) continue;
    char *const to = place(landings[i], i, reads.begin);
    if (const char *const from = ahead_.wait(number_, landings[i].record)) {
      memcpy(to, from, static_cast<size_t>(table_.bytes));
      ++waits_.taken;
      continue;
    }
    lacking.push_back(landings[i].record);
    places.push_back(to);
  }
  const auto runs = coalesce(table_, lacking, {0, machine_.point().max_read, AT_ONCE});
  return reads_of(table_, runs.data(), runs.size(), lacking, places);
}

void Gathering::compute(size_t number, Reads reads, const GatherLaunches &launch,
                        const std::function<void()> &meanwhile) {
  const Cluster &cluster = found_.clusters[number];
  const bool last = number + 1 == found_.clusters.size();
  if (!memory_.shares) upload(cluster, reads.begin);
  for (const GatherLaunch &each : cluster.launches) {
    if (took_dense_ && number == 0 && &each == &cluster.launches.front()) continue;
    if (second_ && second_->takes(each)) {
      launch_on_threads(cluster, each, reads.begin);
      launch({nullptr, nullptr, 0, last && &each == &cluster.launches.back()});
      continue;
    }
    const cl::Memory ticket = this->ticket(each, each.staged ? reads.begin / table_.bytes : 0);
    meanwhile();  // that ticket's last launch has ended, and with it a place may be free
    launch({ticket, each.staged ? memory_.staging.get() : memory_.slots[number_].get(),
            static_cast<int64_t>(each.records.size()), last && &each == &cluster.launches.back()});
    last_ = Ended(queue_).with(last_.value_or(Ended()));
    memory_.tickets.launched(*last_);
    if (!each.staged) memory_.looked[number_] = *last_;
  }
  if (reads.staged) memory_.staging.launched(reads.begin, *last_);
}

// Where their bytes are for the host: where reads land, or in slots that it shares.
void Gathering::launch_on_threads(const Cluster &cluster, const GatherLaunch &launch,
                                  int64_t begin) {
  std::vector<WaveRecord> records;
  size_t landed = 0;
  const std::vector<Landing> landings = memory_.shares ? std::vector<Landing>()
                                                       : landings_of(cluster);
  for (const Placed &each : launch.records) {
    while (landed < landings.size() && landings[landed].record < each.record) ++landed;
    records.push_back({place({each.record, each.slot, launch.staged}, landed, begin),
                       machine_.index(number_, each.record)});
  }
  // Where memory isn't shared, a queue still takes what is for slots.
  const Ended device = memory_.shares ? last_.value_or(Ended()) : Ended(queue_);
  last_ = device.with(Ended(second_->launch(std::move(records))));
}

// In the queue's order: so behind the launches that look at what was there. Threads need none of it.
void Gathering::upload(const Cluster &cluster, int64_t begin) const {
  const std::vector<Landing> landings = landings_of(cluster);
  const char *from = memory_.staging.host() + begin;
  for (size_t i = 0, end = 0; i < landings.size(); i = end) {
    const Landing &first = landings[i];
    for (end = i + 1; end < landings.size() && follows(landings[end - 1], landings[end]);) ++end;
    if (first.staged && second_) continue;
    const SharedMemory &to = first.staged ? memory_.staging.memory() : memory_.slots[number_];
    to.write(queue_, (first.staged ? begin : 0) + first.slot * table_.bytes,
             from + static_cast<int64_t>(i) * table_.bytes,
             static_cast<int64_t>(end - i) * table_.bytes);
  }
}

cl::Memory Gathering::ticket(const GatherLaunch &launch, int64_t first) {
  std::vector<int32_t> pairs;
  for (const Placed &each : launch.records) {
    pairs.push_back(static_cast<int32_t>(first) + each.slot);
    pairs.push_back(machine_.index(number_, each.record));
  }
  const bool begins = std::exchange(begins_, false);
  return memory_.tickets.fill(queue_, pairs, begins);
}

void Gathering::settle() {
  for (; waited_ < reads_.size(); ++waited_) {
    try {
      pool_.wait(reads_[waited_].batch);
    } catch (const Failure &) {  // the first one is the one to report
    }
  }
}

}  // namespace pocket
