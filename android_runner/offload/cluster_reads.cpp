#include "offload/cluster_reads.h"

#include <algorithm>

namespace pocket {

std::vector<Landing> landings_of(const Cluster &cluster) {
  std::vector<Landing> found;
  for (const GatherLaunch &launch : cluster.launches)
    if (!launch.resident)
      for (const Placed &each : launch.records)
        found.push_back({each.record, each.slot, launch.staged});
  std::sort(found.begin(), found.end(),
            [](const Landing &a, const Landing &b) { return a.record < b.record; });
  return found;
}

Batch reads_of(const Table &table, const FlashRun *runs, size_t count,
               const std::vector<int32_t> &records, const std::vector<char *> &to,
               const Begun &begun) {
  Batch batch;
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    ReadOrder order{table.file, runs[i].offset, runs[i].bytes, {}};
    for (size_t left = runs[i].count; left > 0; --left) {
      const int64_t at = table.offset + records[next] * table.stride;
      const int64_t there = among(begun.records, records[next]) ? begun.bytes : 0;
      order.copies.push_back({at + there - runs[i].offset, table.bytes - there, to[next] + there});
      ++next;
    }
    batch.push_back(std::move(order));
  }
  return batch;
}

Batch reads_of(const Table &table, const Gathered &gathered, const Cluster &cluster, char *slots,
               char *staging) {
  std::vector<int32_t> records;
  std::vector<char *> to;
  for (const Landing &each : landings_of(cluster)) {
    if (among(gathered.ahead, each.record)) continue;
    records.push_back(each.record);
    to.push_back((each.staged ? staging : slots) + each.slot * table.bytes);
  }
  const Begun begun = gathered.glimpse ? gathered.glimpse->begun : Begun();
  return reads_of(table, gathered.runs.data() + cluster.first_run, cluster.runs, records, to, begun);
}

Batch reads_of(const Table &table, const Glimpse &glimpse, char *to) {
  std::vector<char *> places;
  for (size_t i = 0; i < glimpse.begun.records.size(); ++i)
    places.push_back(to + static_cast<int64_t>(i) * glimpse.begun.bytes);
  Table begun = table;
  begun.bytes = glimpse.begun.bytes;
  return reads_of(begun, glimpse.runs.data(), glimpse.runs.size(), glimpse.begun.records, places);
}

Batch reads_of(const Table &table, const Change &change, char *slots) {
  std::vector<int32_t> records;
  std::vector<char *> to;
  for (const Placed &each : change.admitted) {
    records.push_back(each.record);
    to.push_back(slots + each.slot * table.bytes);
  }
  return reads_of(table, change.runs.data(), change.runs.size(), records, to);
}

}  // namespace pocket
