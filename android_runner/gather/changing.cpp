#include "gather/changing.h"

#include <cstring>
#include <utility>

#include "offload/cluster_reads.h"

namespace pocket {

void check_slots(const Plan &plan, const Point &point, const Device &device) {
  for (size_t i = 0; i < plan.tables.size(); ++i) {
    const Table &table = plan.tables[i];
    device.check_size(static_cast<size_t>(point.slots[i] * table.bytes),
                      "the slots of " + table.name);
  }
}

void move_records(const Table &table, const Resize &resize, const SharedMemory &slots,
                  const Device &device) {
  const auto bytes = static_cast<size_t>(table.bytes);
  std::vector<char> record(slots.host() ? 0 : bytes);
  for (const Resize::Move &move : resize.moved) {
    const auto from = static_cast<size_t>(move.from) * bytes;
    const auto to = static_cast<size_t>(move.to) * bytes;
    if (slots.host()) {
      memcpy(slots.host() + to, slots.host() + from, bytes);
      continue;
    }
    device.read(slots.get(), from, record.data(), bytes);
    device.write(slots.get(), to, record.data(), bytes);
  }
}

void read_pinned(const Table &table, const Change &change, const SharedMemory &slots,
                 const Device &device, IoPool &pool, bool ahead) {
  const auto read = [&](Batch batch) {
    pool.wait(ahead ? pool.submit_ahead(std::move(batch)) : pool.submit(std::move(batch)));
  };
  if (slots.host()) return read(reads_of(table, change, slots.host()));
  for (const FlashRun &run : change.runs) {
    const Pages landing(run.count * static_cast<size_t>(table.bytes));
    const Placed *const first = change.admitted.data() + run.first;
    std::vector<int32_t> records;
    std::vector<char *> places;
    for (size_t i = 0; i < run.count; ++i) {
      records.push_back(first[i].record);
      places.push_back(landing.data() + static_cast<int64_t>(i) * table.bytes);
    }
    read(reads_of(table, &run, 1, records, places));
    for (size_t i = 0, end = 0; i < run.count; i = end) {
      for (end = i + 1; end < run.count && first[end].slot == first[end - 1].slot + 1;) ++end;
      device.write(slots.get(), static_cast<size_t>(first[i].slot * table.bytes), places[i],
                   (end - i) * static_cast<size_t>(table.bytes));
    }
  }
}

}  // namespace pocket
