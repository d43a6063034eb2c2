// From records to reads: whole pages, in order of address, joined where asking again costs more than
// the bytes between. toolkit/offload/coalesce.py is the same.
#pragma once
#include <cstdint>
#include <vector>

#include "plan/tables.h"

namespace pocket {

struct FlashRun {
  int64_t offset, bytes;  // in the table's file
  size_t first, count;    // of the records that were asked for
};

struct Joining {
  int64_t gap;       // the most bytes between two records that are read with them
  int64_t max_read;  // of a run with more than one record
  size_t cluster;    // each so many records are used together, and no run belongs to two clusters
};

// Records, ascending, of which so many bytes have been read: whole pages from where they begin.
struct Begun {
  std::vector<int32_t> records;
  int64_t bytes = 0;
};

// `records` ascend; `there`, likewise: those among them that aren't read.
std::vector<FlashRun> coalesce(const Table &table, const std::vector<int32_t> &records,
                               const Joining &joining, const std::vector<int32_t> &there = {},
                               const Begun &begun = {});

bool among(const std::vector<int32_t> &records, int32_t record);  // that ascend

}  // namespace pocket
