#include "offload/clusters.h"

#include <algorithm>

namespace pocket {
namespace {

Cluster resident(const std::vector<Placed> &hits, size_t tile, bool nothing) {
  Cluster cluster{0, 0, {}};
  if (nothing) cluster.launches.push_back({false, {}});
  const size_t each = tile ? tile : std::max<size_t>(1, hits.size());
  for (size_t at = 0; at < hits.size(); at += each) {
    const size_t end = std::min(hits.size(), at + each);
    cluster.launches.push_back({false, {hits.begin() + static_cast<long>(at),
                                        hits.begin() + static_cast<long>(end)}});
  }
  return cluster;
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

std::vector<Cluster> clusters_of(const Gathered &gathered, const RecordCache &cache, size_t most,
                                 size_t tile) {
  std::vector<Cluster> clusters = {
      resident(gathered.placed.hits, tile, gathered.selected.empty())};
  size_t run = 0;
  for (size_t at = 0; at < gathered.missed.size(); at += most) {
    const size_t end = std::min(gathered.missed.size(), at + most), first = run;
    while (run < gathered.runs.size() && gathered.runs[run].first < end) ++run;
    clusters.push_back({first, run - first, launches(gathered.missed, at, end, cache)});
  }
  return clusters;
}

}  // namespace pocket
