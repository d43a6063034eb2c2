#include "gather/first_parts.h"

#include <cstring>

#include "base/os.h"

namespace pocket {

void FirstParts::launch_resident(size_t table, const std::vector<Placed> &records, cl::Queue queue,
                                 const GatherLaunches &launch) {
  if (records.empty()) return;
  std::vector<int32_t> pairs;
  for (const Placed &each : records) {
    pairs.push_back(each.slot);
    pairs.push_back(machine_.index(table, each.record));
  }
  const cl::Memory ticket = memory_.tickets.fill(queue, pairs, true);
  launch({ticket, memory_.slots[table].get(), static_cast<int64_t>(records.size()), false});
  const Ended ended(queue);
  memory_.tickets.launched(ended);
  memory_.looked[table] = ended;
}

ReadWaits FirstParts::look(const GatherStep &gather, const Glimpse &glimpse, cl::Queue queue,
                           const GatherLaunches &launch) {
  const ReadWaits waits = read(gather, glimpse, queue, launch);
  if (glimpse.begun.records.empty()) return waits;
  const auto count = static_cast<int64_t>(glimpse.begun.records.size());
  const auto begin = memory_.staging.take(count, plan_.tables[gather.table].bytes, true);
  if (!begin) throw no_place();
  const std::vector<int32_t> pairs = place(glimpse, gather.table, *begin, queue);
  const cl::Memory ticket = memory_.tickets.fill(queue, pairs, true);
  launch({ticket, memory_.staging.get(), count, false, true});
  const Ended ended(queue);
  memory_.tickets.launched(ended);
  memory_.staging.launched(*begin, ended);
  return waits;
}

ReadWaits FirstParts::read(const GatherStep &gather, const Glimpse &glimpse, cl::Queue queue,
                           const GatherLaunches &launch) {
  const Table &table = plan_.tables[gather.table];
  const uint64_t batch = pool_.submit(reads_of(table, glimpse, memory_.begun.data()));
  Ended given;
  try {
    launch_resident(gather.table, glimpse.hits, queue, launch);
    given = Ended(queue);
  } catch (...) {  // nothing may land there when this has ended
    pool_.wait(batch);
    throw;
  }
  const double before = now();
  pool_.wait(batch);
  const double waited_s = now() - before;
  return {waited_s, given.busy() ? 0 : waited_s};
}

// First parts come to their places in staging; what a ticket says of them.
std::vector<int32_t> FirstParts::place(const Glimpse &glimpse, size_t number, int64_t begin,
                                       cl::Queue queue) {
  const Begun &begun = glimpse.begun;
  const int64_t bytes = plan_.tables[number].bytes;
  std::vector<int32_t> pairs;
  for (size_t i = 0; i < begun.records.size(); ++i) {
    const char *const from = memory_.begun.data() + static_cast<int64_t>(i) * begun.bytes;
    const int64_t at = begin + static_cast<int64_t>(i) * bytes;
    if (memory_.shares) memcpy(memory_.staging.host() + at, from, static_cast<size_t>(begun.bytes));
    else memory_.staging.memory().write(queue, at, from, begun.bytes);
    pairs.push_back(static_cast<int32_t>(at / bytes));
    pairs.push_back(machine_.index(number, begun.records[i]));
  }
  return pairs;
}

std::vector<int32_t> FirstParts::left_of(const GatherStep &gather, const Glimpse &glimpse,
                                         cl::Queue queue, cl::Memory numbers) {
  if (glimpse.begun.records.empty()) return {};
  std::vector<float> values(static_cast<size_t>(plan_.tables[gather.table].count));
  cl::check(cl::EnqueueReadBuffer(queue, numbers, 1, 0, values.size() * sizeof(float),
                                  values.data(), 0, nullptr, nullptr),
            "clEnqueueReadBuffer");
  const std::vector<int32_t> chosen = select(gather.first_select, {values.data(), nullptr, 0},
                                             static_cast<int32_t>(values.size()), {});
  std::vector<int32_t> left;
  for (const int32_t record : glimpse.begun.records)
    if (!among(chosen, machine_.index(gather.table, record))) left.push_back(record);
  left_ += static_cast<int64_t>(left.size());
  spared_ += static_cast<int64_t>(left.size()) * glimpse.spared;
  return left;
}

}  // namespace pocket
