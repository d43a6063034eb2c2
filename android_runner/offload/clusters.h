// How the records of a gather are cut into launches.
#pragma once
#include "offload/machine.h"

namespace pocket {

// How many records are read together: a cluster, or of tiles that are alike no more than `tile`.
size_t read_at_once(size_t misses, size_t tile, size_t cluster);

// What was resident, in launches of `tile` records (0: one), and each `most` of what is read. Of the
// former the first comes first; the others stand between the clusters, so that flash has time for
// each of these. `dense` stands in front of all, if it has any record: it is known before anything
// else is, so there is always another launch behind it.
std::vector<Cluster> clusters_of(const Gathered &gathered, const RecordCache &cache, size_t most,
                                 size_t tile, const GatherLaunch &dense);

}  // namespace pocket
