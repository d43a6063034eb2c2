#include "offload/access_trace.h"

namespace pocket {
namespace {

// A list in JSON, each item by `text`.
template <class Item, class Text>
std::string list_of(const std::vector<Item> &items, const Text &text) {
  std::string list;
  for (const Item &item : items) list += (list.empty() ? "" : ",") + text(item);
  return "[" + list + "]";
}

std::string pair_of(int64_t first, int64_t second) {
  return "[" + std::to_string(first) + "," + std::to_string(second) + "]";
}

std::string number(int32_t value) { return std::to_string(value); }

}  // namespace

std::string trace_line(int64_t step, int64_t gather, const Gathered &found) {
  const auto placed = [](const Placed &each) { return pair_of(each.record, each.slot); };
  const auto read = [](const FlashRun &run) { return pair_of(run.offset, run.bytes); };
  return "{\"t\":" + std::to_string(step) + ",\"g\":" + std::to_string(gather) +
         ",\"sel\":" + list_of(found.selected, number) +
         ",\"hit\":" + std::to_string(found.placed.hits.size()) +
         ",\"admit\":" + list_of(found.placed.admitted, placed) +
         ",\"evict\":" + list_of(found.placed.evicted, number) +
         ",\"runs\":" + list_of(found.runs, read) + ",\"read\":" + std::to_string(found.read) +
         ",\"used\":" + std::to_string(found.used) + "}";
}

void AccessTrace::write(int64_t step, int64_t gather, const Gathered &found, const float *scores,
                        size_t count) {
  const std::string line = trace_line(step, gather, found) + "\n";
  lines_.write(line.data(), line.size());
  if (count) scores_.write(scores, count * sizeof(float));
}

}  // namespace pocket
