#include "gather/gatherer.h"

#include <limits>

#include "base/json.h"
#include "offload/flash_tables.h"
#include "offload/points.h"

namespace pocket {
namespace {

FlashModel costless() { return {0, std::numeric_limits<double>::infinity()}; }

std::vector<int32_t> records_of(const std::vector<Placed> &placed) {
  std::vector<int32_t> records;
  for (const Placed &each : placed) records.push_back(each.record);
  return records;
}

}  // namespace

Gatherer::Gatherer(const Plan &plan, const Device &device, const GatherOptions &options)
    : plan_(plan),
      device_(device),
      point_(choose_point(plan, options.memory)),
      machine_(plan.tables, orders_of(plan), options.imitated.value_or(costless()),
               importance_of(plan)),
      memory_(plan, point_, device),
      store_(plan, options.imitated ? RecordStore::Way::Cached : RecordStore::Way::Storage),
      pool_(store_, static_cast<size_t>(point_.threads), point_.max_read, options.imitated) {
  if (!options.trace.empty()) trace_ = std::make_unique<AccessTrace>(options.trace);
  const std::vector<Change> opening = machine_.change(point_);
  for (size_t i = 0; i < opening.size(); ++i) open_table(i, opening[i]);
}

void Gatherer::begin_run() { ++step_; }

// Where the host can't write slots, run by run through memory of its size.
void Gatherer::open_table(size_t number, const Change &change) {
  const Table &table = plan_.tables[number];
  const SharedMemory &slots = memory_.slots[number];
  if (memory_.shares) return pool_.wait(pool_.submit(reads_of(table, change, slots.host())));
  for (const FlashRun &run : change.runs) {
    const Pages landing(run.count * static_cast<size_t>(table.bytes));
    const Placed *const first = change.resize.admitted.data() + run.first;
    std::vector<int32_t> records;
    std::vector<char *> places;
    for (size_t i = 0; i < run.count; ++i) {
      records.push_back(first[i].record);
      places.push_back(landing.data() + static_cast<int64_t>(i) * table.bytes);
    }
    pool_.wait(pool_.submit(reads_of(table, &run, 1, records, places)));
    for (size_t i = 0; i < run.count; ++i)
      device_.write(slots.get(), static_cast<size_t>(first[i].slot * table.bytes), places[i],
                    static_cast<size_t>(table.bytes));
  }
}

Select Gatherer::rule_of(const GatherStep &gather) const {
  return at_point(gather.select, point_.select[gather.number]);
}

// The host waits here for the dispatch that wrote them, in its queue.
std::vector<char> Gatherer::read_scores(const GatherStep &gather, cl::Queue queue,
                                        cl::Memory from) const {
  if (!gather.from) return {};
  const bool ids = gather.select.by == Select::Ids;
  const int64_t count = ids ? rule_of(gather).k : plan_.tables[gather.table].count;
  std::vector<char> scores(static_cast<size_t>(count) * sizeof(float));
  cl::check(cl::EnqueueReadBuffer(queue, from, 1, 0, scores.size(), scores.data(), 0, nullptr,
                                  nullptr),
            "clEnqueueReadBuffer");
  return scores;
}

void Gatherer::run(const Step &step, cl::Queue queue, cl::Memory from,
                   const GatherLaunches &launch) {
  const GatherStep &gather = *step.gather;
  const std::vector<char> content = read_scores(gather, queue, from);
  const auto *values = reinterpret_cast<const float *>(content.data());
  const auto *ids = reinterpret_cast<const int32_t *>(content.data());
  const size_t count = content.size() / sizeof(float);
  const bool by_ids = gather.select.by == Select::Ids;
  const Gathered found =
      decide(gather, by_ids ? Scores{nullptr, ids, count} : Scores{values, nullptr, 0});
  Gathering gathering(plan_, gather.table, queue, machine_, memory_, pool_, launch);
  try {
    const auto number = static_cast<int64_t>(gather.number);  // tells the phase, too
    if (trace_ && !rehearsed_)
      trace_->write(step_, number, found, values, by_ids ? 0 : count);
    waited_s_ += gathering.conduct(found);
  } catch (...) {
    gathering.abandon();
    machine_.lose(gather.table, records_of(found.placed.admitted));
    throw;
  }
}

Gathered Gatherer::decide(const GatherStep &gather, const Scores &scores) {
  if (rehearsed_) return machine_.rehearse(gather.table, rule_of(gather), scores, gather.tile);
  Gathered found = machine_.gather(gather.table, rule_of(gather), scores, step_, gather.tile);
  selected_ += static_cast<int64_t>(found.selected.size());
  hits_ += static_cast<int64_t>(found.placed.hits.size());
  return found;
}

void Gatherer::rehearse(bool on) {
  rehearsed_ = on;
  if (!on) memory_.resident.forget();
}

bool Gatherer::is_resident(const GatherStep &gather) const {
  const RecordCache &cache = machine_.cache(gather.table);
  const auto count = static_cast<int32_t>(plan_.tables[gather.table].count);
  if (trace_ || !ResidentGathers::possible(plan_, gather)) return false;
  for (int32_t record = 0; record < count; ++record)
    if (cache.slot(record) != record) return false;
  return point_.pinned[gather.table] == count;
}

std::string Gatherer::facts() const {
  return Record()
      .add("memory", point_.memory)
      .add("slot_bytes", GatherMemory::bytes(plan_, point_, memory_.shares))
      .add_flag("direct", store_.direct())
      .text();
}

std::string Gatherer::counts() const {
  const IoCounts io = pool_.counts();
  const int64_t chosen = memory_.resident.chosen();
  std::string sizes;
  for (const auto &[bytes, reads] : io.sizes)
    sizes += (sizes.empty() ? "" : ", ") + quote(std::to_string(bytes)) + ": " + std::to_string(reads);
  return Record()
      .add("memory", point_.memory)
      .add("record_bytes", slot_bytes(plan_, point_.slots))
      .add_flag("direct", store_.direct())
      .add("selected", selected_ + chosen)
      .add("hits", hits_ + chosen)
      .add("reads", io.reads)
      .add("read_bytes", io.read)
      .add("used_bytes", io.used)
      .raw("read_sizes", "{" + sizes + "}")
      .add("waited_s", waited_s_)
      .add("imitated_s", io.imitated_s)
      .add("late_s", io.late_s)
      .add("late_share", io.late_share)
      .text();
}

}  // namespace pocket
