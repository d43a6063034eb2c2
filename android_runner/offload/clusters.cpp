#include "offload/clusters.h"

#include <algorithm>

namespace pocket {
namespace {

size_t rounded_up(size_t whole, size_t parts) { return (whole + parts - 1) / parts; }

// Of these but the first `taken`, which have a launch of their own.
std::vector<GatherLaunch> resident(const std::vector<Placed> &hits, size_t taken, size_t tile,
                                   bool nothing) {
  std::vector<GatherLaunch> launches;
  if (nothing) launches.push_back({false, {}, true});
  const size_t each = tile ? tile : std::max<size_t>(1, hits.size());
  for (size_t at = taken; at < hits.size(); at += each) {
    const size_t end = std::min(hits.size(), at + each);
    launches.push_back({false,
                        {hits.begin() + static_cast<long>(at), hits.begin() + static_cast<long>(end)},
                        true});
  }
  return launches;
}

// Each cluster gets its share, none later than they would be evenly spread.
void spread(const std::vector<GatherLaunch> &residents, std::vector<Cluster> &clusters) {
  size_t next = 0;
  for (size_t i = 0; i < clusters.size(); ++i)
    for (; next < rounded_up((i + 1) * residents.size(), clusters.size()); ++next)
      clusters[i].launches.push_back(residents[next]);
}

// The launch of what has been admitted, and that of what lies in staging; none is empty.
std::vector<GatherLaunch> launches(const std::vector<int32_t> &missed, size_t begin, size_t end,
                                   const RecordCache &cache) {
  GatherLaunch admitted{false, {}}, streamed{true, {}};
  for (size_t i = begin; i < end; ++i) {
    const int32_t record = missed[i], slot = cache.slot(record);
    if (slot >= 0) admitted.records.push_back({record, slot});
    else streamed.records.push_back({record, static_cast<int32_t>(streamed.records.size())});
  }
  std::vector<GatherLaunch> found;
  for (GatherLaunch *launch : {&admitted, &streamed})
    if (!launch->records.empty()) found.push_back(std::move(*launch));
  return found;
}

}  // namespace

size_t read_at_once(size_t misses, size_t tile, size_t cluster) {
  if (!tile) return cluster;
  return misses ? rounded_up(misses, rounded_up(misses, tile)) : tile;
}

std::vector<Cluster> clusters_of(const Gathered &gathered, const RecordCache &cache, size_t most,
                                 size_t tile, const GatherLaunch &dense) {
  std::vector<Cluster> clusters = {{0, 0, {}}};
  const size_t taken = dense.records.size();
  if (taken) clusters[0].launches.push_back(dense);
  size_t run = 0;
  for (size_t at = 0; at < gathered.missed.size(); at += most) {
    const size_t end = std::min(gathered.missed.size(), at + most), first = run;
    while (run < gathered.runs.size() && gathered.runs[run].first < end) ++run;
    clusters.push_back({first, run - first, launches(gathered.missed, at, end, cache)});
  }
  const bool nothing = gathered.placed.hits.size() == taken && gathered.missed.empty();
  spread(resident(gathered.placed.hits, taken, tile, nothing), clusters);
  return clusters;
}

}  // namespace pocket
