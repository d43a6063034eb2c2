// What the pool is to do for a cluster: its reads, and where each record of them goes.
#pragma once
#include <vector>

#include "offload/io_pool.h"
#include "offload/machine.h"

namespace pocket {

// A record that a cluster reads.
struct Landing {
  int32_t record, slot;
  bool staged;  // the slot is a place in staging, from the cluster's first
};

// In order of address, as many as the cluster's runs bring.
std::vector<Landing> landings_of(const Cluster &cluster);

// `to`: where each of the records goes, in order of address; `records` are those of the runs.
// Of those that are `begun` only the rest is read.
Batch reads_of(const Table &table, const FlashRun *runs, size_t count,
               const std::vector<int32_t> &records, const std::vector<char *> &to,
               const Begun &begun = {});

// Of what a gather reads first: one record's behind the other's, from there on.
Batch reads_of(const Table &table, const Glimpse &glimpse, char *to);

// Of a cluster whose slots and staging the host can write.
Batch reads_of(const Table &table, const Gathered &gathered, const Cluster &cluster, char *slots,
               char *staging);

// Of what another point, or the first one, reads at once.
Batch reads_of(const Table &table, const Change &change, char *slots);

}  // namespace pocket
