// How the records of a gather are cut into launches.
#pragma once
#include "offload/machine.h"

namespace pocket {

// What was resident, in launches of `tile` records (0: one), and then each `most` of what is read.
std::vector<Cluster> clusters_of(const Gathered &gathered, const RecordCache &cache, size_t most,
                                 size_t tile);

}  // namespace pocket
