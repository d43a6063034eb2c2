#include "gather/gathering.h"

#include <algorithm>
#include <utility>

#include "base/os.h"

namespace pocket {
namespace {

bool follows(const Landing &one, const Landing &next) {
  return one.staged == next.staged && one.slot + 1 == next.slot;
}

}  // namespace

// Reads of as many clusters as there is room for are under way while earlier ones are computed.
double Gathering::conduct(const Gathered &found) {
  const std::vector<Cluster> &clusters = found.clusters;
  double waited_s = 0;
  if (!found.placed.admitted.empty()) memory_.looked[number_].wait();
  for (size_t i = 0; i < clusters.size(); ++i) {
    bool room = true;
    while (room && reads_.size() < clusters.size()) room = submit(found, reads_.size() == i);
    waited_ = i + 1;
    const double before = now();
    pool_.wait(reads_[i].batch);
    waited_s += now() - before;
    compute(clusters[i], reads_[i]);
  }
  return waited_s;
}

// What the next cluster needs. False where its records have no place yet.
bool Gathering::submit(const Gathered &found, bool wait) {
  const Cluster &cluster = found.clusters[reads_.size()];
  const std::vector<Landing> landings = landings_of(cluster);
  const auto count = std::count_if(landings.begin(), landings.end(), [&](const Landing &each) {
    return each.staged || !memory_.shares;
  });
  const auto begin = memory_.staging.take(count, table_.bytes, wait);
  if (!begin) return false;
  char *staging = memory_.staging.host() + *begin;
  Batch batch = memory_.shares ? reads_of(table_, found, cluster, memory_.slots[number_].host(),
                                          staging)
                               : in_order(found, cluster, landings, staging);
  reads_.push_back({pool_.submit(std::move(batch)), *begin, count > 0});
  return true;
}

// One record behind the other, until a queue brings them to their places.
Batch Gathering::in_order(const Gathered &found, const Cluster &cluster,
                          const std::vector<Landing> &landings, char *to) const {
  std::vector<int32_t> records;
  std::vector<char *> places;
  for (const Landing &each : landings) {
    records.push_back(each.record);
    places.push_back(to + static_cast<int64_t>(places.size()) * table_.bytes);
  }
  return reads_of(table_, found.runs.data() + cluster.first_run, cluster.runs, records, places);
}

void Gathering::compute(const Cluster &cluster, const Reads &reads) {
  if (!memory_.shares) upload(landings_of(cluster), reads.begin);
  Ended ended;
  for (const GatherLaunch &launch : cluster.launches) {
    const cl::Memory ticket = this->ticket(launch, launch.staged ? reads.begin / table_.bytes : 0);
    launch_(ticket, launch.staged ? memory_.staging.get() : memory_.slots[number_].get(),
            static_cast<int64_t>(launch.records.size()));
    ended = Ended(queue_);
    memory_.tickets.launched(ended);
    if (!launch.staged) memory_.looked[number_] = ended;
  }
  if (reads.staged) memory_.staging.launched(reads.begin, ended);
}

// In the queue's order: so behind the launches that look at what was there.
void Gathering::upload(const std::vector<Landing> &landings, int64_t begin) const {
  const char *from = memory_.staging.host() + begin;
  for (size_t i = 0, end = 0; i < landings.size(); i = end) {
    const Landing &first = landings[i];
    for (end = i + 1; end < landings.size() && follows(landings[end - 1], landings[end]);) ++end;
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

void Gathering::abandon() {
  pool_.cancel();
  cl::Finish(queue_);  // a copy may be under way; where the device failed, that was reported
  for (; waited_ < reads_.size(); ++waited_) {
    try {
      pool_.wait(reads_[waited_].batch);
    } catch (const Failure &) {  // the first one is the one to report
    }
  }
  memory_.staging.forget();
}

}  // namespace pocket
