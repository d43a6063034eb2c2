#include "offload/coalesce.h"

namespace pocket {
namespace {

int64_t page_below(int64_t offset) { return offset / FLASH_PAGE * FLASH_PAGE; }

int64_t page_above(int64_t offset) { return page_below(offset + FLASH_PAGE - 1); }

bool joins(const FlashRun &run, int64_t begin, int64_t end, const Joining &joining) {
  return begin - (run.offset + run.bytes) <= joining.gap && end - run.offset <= joining.max_read;
}

}  // namespace

std::vector<FlashRun> coalesce(const Table &table, const std::vector<int32_t> &records,
                               const Joining &joining) {
  std::vector<FlashRun> runs;
  for (size_t i = 0; i < records.size(); ++i) {
    const int64_t at = table.offset + records[i] * table.stride;
    const int64_t begin = page_below(at), end = page_above(at + table.bytes);
    if (i % joining.cluster == 0 || !joins(runs.back(), begin, end, joining)) {
      runs.push_back({begin, end - begin, i, 1});
      continue;
    }
    runs.back().bytes = end - runs.back().offset;
    ++runs.back().count;
  }
  return runs;
}

}  // namespace pocket
