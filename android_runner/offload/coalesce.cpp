#include "offload/coalesce.h"

#include <algorithm>

namespace pocket {
namespace {

int64_t page_below(int64_t offset) { return offset / FLASH_PAGE * FLASH_PAGE; }

int64_t page_above(int64_t offset) { return page_below(offset + FLASH_PAGE - 1); }

bool joins(const FlashRun &run, int64_t begin, int64_t end, const Joining &joining) {
  return begin - (run.offset + run.bytes) <= joining.gap && end - run.offset <= joining.max_read;
}

}  // namespace

bool among(const std::vector<int32_t> &records, int32_t record) {
  return std::binary_search(records.begin(), records.end(), record);
}

std::vector<FlashRun> coalesce(const Table &table, const std::vector<int32_t> &records,
                               const Joining &joining, const std::vector<int32_t> &there,
                               const Begun &begun) {
  std::vector<FlashRun> runs;
  size_t last = records.size();  // that is read, of those before
  for (size_t i = 0; i < records.size(); ++i) {
    if (among(there, records[i])) continue;
    const bool follows = !runs.empty() && i / joining.cluster == last / joining.cluster;
    last = i;
    const int64_t at = table.offset + records[i] * table.stride;
    const int64_t begin = page_below(at) + (among(begun.records, records[i]) ? begun.bytes : 0);
    const int64_t end = page_above(at + table.bytes);
    if (!follows || !joins(runs.back(), begin, end, joining)) {
      runs.push_back({begin, end - begin, i, 1});
      continue;
    }
    runs.back().bytes = end - runs.back().offset;
    ++runs.back().count;
  }
  return runs;
}

}  // namespace pocket
