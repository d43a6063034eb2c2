#include "offload/machine.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "base/json.h"
#include "offload/clusters.h"

namespace pocket {
namespace {

Policy policy_of(const Point &point) {
  if (const auto found = find_policy(point.policy)) return *found;
  throw Failure("the plan keeps records by the policy " + quote(point.policy),
                "this runner knows no such policy", "compile the model again");
}

std::vector<int32_t> inverse(const std::vector<int32_t> &order) {
  std::vector<int32_t> found(order.size());
  for (size_t i = 0; i < order.size(); ++i) found[order[i]] = static_cast<int32_t>(i);
  return found;
}

int64_t pages(int64_t bytes) { return (bytes + FLASH_PAGE - 1) / FLASH_PAGE * FLASH_PAGE; }

std::vector<Placed> ascending(std::vector<Placed> some, const std::vector<Placed> &others) {
  some.insert(some.end(), others.begin(), others.end());
  std::sort(some.begin(), some.end(),
            [](const Placed &a, const Placed &b) { return a.record < b.record; });
  return some;
}

std::vector<int32_t> missed(const Admission &placed) {
  std::vector<int32_t> records = records_of(placed.admitted);
  records.insert(records.end(), placed.streamed.begin(), placed.streamed.end());
  std::sort(records.begin(), records.end());
  return records;
}

constexpr int64_t TRIED = 16;  // in one of so many steps, what isn't worth it is read all the same
constexpr int64_t WORTH = 3;     // records of a group, of which at least one is to be needed
constexpr int64_t WEIGHT = 16;   // records at least that a group's counts are of
constexpr int64_t MEMORY = 256;  // records of which they are halved

bool is_poor(const Foresight::Group &group) {
  return group.read >= WEIGHT && WORTH * group.needed < group.read;
}

}  // namespace

int64_t Foresight::most(int64_t wanted, int64_t step) const {
  const auto poor = std::find_if(groups.begin(), groups.end(), is_poor);
  if (poor == groups.end() || step % TRIED == 0) return wanted;
  return std::min(wanted, static_cast<int64_t>(AT_ONCE) * (poor - groups.begin()));
}

std::vector<int32_t> Foresight::found(const std::vector<int32_t> &misses) {
  std::vector<int32_t> both;
  for (size_t i = 0; i < records.size(); ++i) {
    if (i / AT_ONCE == groups.size()) groups.emplace_back();
    Group &group = groups[i / AT_ONCE];
    const bool needed = among(misses, records[i]);
    if (needed) both.push_back(records[i]);
    group.needed += needed;
    if (++group.read <= MEMORY) continue;
    group.read /= 2;
    group.needed /= 2;
  }
  records.clear();
  std::sort(both.begin(), both.end());
  return both;
}

Machine::Machine(const std::vector<Table> &tables, std::vector<std::vector<int32_t>> orders,
                 FlashModel flash, std::vector<std::vector<float>> importance)
    : tables_(tables),
      orders_(std::move(orders)),
      foresight_(tables.size()),
      flash_(std::move(flash)) {
  for (size_t i = 0; i < tables.size(); ++i) {
    record_of_.push_back(inverse(orders_[i]));
    caches_.emplace_back(static_cast<int32_t>(tables[i].count),
                         importance.empty() ? std::vector<float>() : std::move(importance[i]));
  }
}

std::vector<Change> Machine::change(const Point &point, const RecordLists &warm) {
  const Policy policy = policy_of(point);
  point_ = point;
  std::vector<Change> changes;
  for (size_t i = 0; i < tables_.size(); ++i) {
    if (!begun_ && !point.window.empty()) caches_[i].set_window(point.window[i]);
    caches_[i].follow(policy);
    Resize resize = caches_[i].resize(static_cast<int32_t>(point.slots[i]),
                                      static_cast<int32_t>(point.pinned[i]));
    std::vector<Placed> admitted = resize.admitted;
    if (!warm.empty()) admitted = ascending(std::move(admitted), caches_[i].open(warm[i]));
    const auto all = static_cast<size_t>(std::max<int64_t>(1, tables_[i].count));
    std::vector<FlashRun> runs = coalesce(tables_[i], records_of(admitted), joining(all));
    const double takes = seconds_of(runs, flash_);
    changes.push_back({std::move(resize), std::move(admitted), std::move(runs), takes});
  }
  begun_ = true;
  return changes;
}

std::vector<int32_t> Machine::select_records(size_t table, const Select &rule,
                                             const Scores &scores) const {
  std::vector<uint8_t> resident;  // by index
  const auto count = static_cast<int32_t>(tables_[table].count);
  for (int32_t i = 0; rule.by == Select::Top && i < count; ++i)
    resident.push_back(caches_[table].slot(record(table, i)) >= 0);
  std::vector<int32_t> chosen = select(rule, scores, count, resident);
  const int32_t always = dense(table, rule);
  if (record_of_[table].empty() && !always) return chosen;
  std::vector<uint8_t> wanted(static_cast<size_t>(count));  // sooner done than sorting
  std::fill_n(wanted.begin(), always, 1);
  for (const int32_t each : chosen) wanted[record(table, each)] = 1;
  chosen.clear();
  for (int32_t record = 0; record < count; ++record)
    if (wanted[record]) chosen.push_back(record);
  return chosen;
}

int32_t Machine::dense(size_t table, const Select &rule) const {
  const bool whole = point_.pinned[table] == tables_[table].count;
  const bool none = whole || rule.by == Select::All || counts_records(rule) || point_.dense.empty();
  return none ? 0 : static_cast<int32_t>(point_.dense[table]);
}

GatherLaunch Machine::dense_launch(size_t table, const Select &rule) const {
  GatherLaunch launch{false, {}, true};
  for (int32_t record = 0; record < dense(table, rule); ++record)
    if (const int32_t slot = caches_[table].slot(record); slot >= 0)
      launch.records.push_back({record, slot});
  return launch;
}

Glimpse Machine::glimpse(size_t table, const Select &rule, const Scores &scores,
                         int64_t first) const {
  Glimpse found;
  found.selected = select_records(table, rule, scores);
  std::vector<int32_t> &records = found.begun.records;
  const std::vector<int32_t> &early = foresight_[table].records;  // ascending in groups alone
  for (const int32_t record : found.selected) {
    const int32_t slot = caches_[table].slot(record);
    if (slot >= 0) found.hits.push_back({record, slot});
    else if (std::find(early.begin(), early.end(), record) == early.end() &&
             records.size() < static_cast<size_t>(point_.cluster))
      records.push_back(record);
  }
  Table begun = tables_[table];
  begun.bytes = first;
  found.runs = coalesce(begun, records, joining(static_cast<size_t>(point_.cluster)));
  for (const FlashRun &run : found.runs) found.read += run.bytes;
  found.begun.bytes = pages(first);
  found.spared = pages(tables_[table].bytes) - found.begun.bytes;
  return found;
}

Gathered Machine::gather(size_t table, const Select &rule, const Scores &scores, int64_t step,
                         size_t tile, std::optional<Glimpse> glimpse, std::vector<int32_t> left) {
  Gathered found;
  GatherLaunch first = dense_launch(table, rule);
  found.always = dense(table, rule);
  found.selected = glimpse ? glimpse->selected : select_records(table, rule, scores);
  std::vector<int32_t> needed = found.selected;
  const auto is_left = [&](int32_t record) { return among(left, record); };
  needed.erase(std::remove_if(needed.begin(), needed.end(), is_left), needed.end());
  if (glimpse) first.records = glimpse->hits;
  found.glimpse = std::move(glimpse);
  found.left = std::move(left);
  found.placed = caches_[table].admit(needed, step, rule.by == Select::All);
  found.missed = missed(found.placed);
  const size_t most = read_at_once(found.missed.size(), tile, static_cast<size_t>(point_.cluster));
  found.ahead = foresight_[table].found(found.missed);
  const Begun begun = found.glimpse ? found.glimpse->begun : Begun();
  found.runs = coalesce(tables_[table], found.missed, joining(most), found.ahead, begun);
  found.dense = !first.records.empty();
  found.clusters = clusters_of(found, caches_[table], most, tile, first);
  found.seconds = seconds_of(found.runs, flash_);
  for (const FlashRun &run : found.runs) found.read += run.bytes;
  found.used = static_cast<int64_t>(found.missed.size()) * tables_[table].bytes;
  return found;
}

Ahead Machine::prefetch(size_t table, const Select &rule, const Scores &scores, int64_t step,
                        int64_t most) {
  std::vector<std::pair<float, int32_t>> away;
  for (const int32_t index : select(rule, scores, static_cast<int32_t>(tables_[table].count), {})) {
    const int32_t each = record(table, index);
    const float value = scores.values[index];  // a NaN counts as 0
    const float size = std::isnan(value) ? 0 : rule.magnitude ? std::fabs(value) : value;
    if (caches_[table].slot(each) < 0) away.push_back({-size, each});
  }
  const auto count = static_cast<size_t>(foresight_[table].most(most, step));
  const size_t kept = std::min(count, away.size());
  std::partial_sort(away.begin(), away.begin() + static_cast<long>(kept), away.end());
  Ahead found;
  for (size_t i = 0; i < kept; ++i) found.records.push_back(away[i].second);
  for (size_t i = 0; i < kept; i += AT_ONCE)
    std::sort(found.records.begin() + static_cast<long>(i),
              found.records.begin() + static_cast<long>(std::min(kept, i + AT_ONCE)));
  found.runs = coalesce(tables_[table], found.records, joining(AT_ONCE));
  for (const FlashRun &run : found.runs) found.read += run.bytes;
  foresight_[table].records = found.records;
  return found;
}

Gathered Machine::rehearse(size_t table, const Select &rule, const Scores &scores,
                           size_t tile) const {
  Gathered found;
  const GatherLaunch first = dense_launch(table, rule);
  for (const int32_t record : select_records(table, rule, scores)) {
    const int32_t slot = caches_[table].slot(record);
    if (slot >= 0) found.placed.hits.push_back({record, slot});
    else if (rule.by == Select::Ids) found.placed.streamed.push_back(record);
    else continue;
    found.selected.push_back(record);
  }
  found.missed = missed(found.placed);
  const size_t most = tile ? tile : static_cast<size_t>(point_.cluster);
  found.runs = coalesce(tables_[table], found.missed, joining(most));
  found.dense = !first.records.empty();
  found.clusters = clusters_of(found, caches_[table], most, tile, first);
  return found;
}

double seconds_of(const std::vector<FlashRun> &runs, const FlashModel &flash) {
  double sum = runs.empty() ? 0 : flash.latency_s();
  int64_t end = -1;
  for (const FlashRun &run : runs) {
    sum += flash.seconds(run.bytes, run.offset <= end ? ReadPlace::Sequential : ReadPlace::Random);
    end = run.offset + run.bytes;
  }
  return sum;
}

}  // namespace pocket
