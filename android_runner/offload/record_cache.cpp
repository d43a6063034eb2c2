#include "offload/record_cache.h"

#include <algorithm>
#include <utility>

namespace pocket {

std::vector<int32_t> records_of(const std::vector<Placed> &placed) {
  std::vector<int32_t> records;
  for (const Placed &each : placed) records.push_back(each.record);
  return records;
}

RecordCache::RecordCache(int32_t count, std::vector<float> importance)
    : ranks_(static_cast<size_t>(count), std::move(importance)),
      slot_of_(static_cast<size_t>(count), -1) {}

void RecordCache::drop(const std::vector<int32_t> &records) {
  for (const int32_t record : records) {
    record_in_[slot_of_[record]] = -1;
    slot_of_[record] = -1;
  }
}

// As many as there are free slots for, each into the lowest.
std::vector<Placed> RecordCache::place(const std::vector<int32_t> &records) {
  std::vector<Placed> placed;
  for (int32_t slot = 0; slot < slots() && placed.size() < records.size(); ++slot) {
    if (record_in_[slot] >= 0) continue;
    const int32_t record = records[placed.size()];
    record_in_[slot] = record;
    slot_of_[record] = slot;
    placed.push_back({record, slot});
  }
  return placed;
}

// The first `count` by (rank, record).
std::vector<int32_t> RecordCache::lowest(const std::vector<int32_t> &candidates,
                                         size_t count) const {
  if (count == 0) return {};
  std::vector<std::pair<int64_t, int32_t>> ranked;
  ranked.reserve(candidates.size());
  for (const int32_t record : candidates) ranked.emplace_back(ranks_.of(record), record);
  count = std::min(count, ranked.size());
  const auto end = ranked.begin() + static_cast<long>(count);
  if (end != ranked.end()) std::nth_element(ranked.begin(), end, ranked.end());
  std::sort(ranked.begin(), end);
  std::vector<int32_t> found;
  for (size_t i = 0; i < count; ++i) found.push_back(ranked[i].second);
  return found;
}

// What has expired; and if that is less than `count`, the first others: what never was selected.
std::vector<int32_t> RecordCache::expired(const std::vector<int32_t> &candidates, size_t count,
                                          int64_t step) const {
  const auto is_old = [&](int32_t record) { return ranks_.expired(record, step - window_); };
  const auto old = static_cast<size_t>(std::count_if(candidates.begin(), candidates.end(), is_old));
  size_t others = count > old ? count - old : 0;
  std::vector<int32_t> found;
  for (const int32_t record : lowest(candidates, candidates.size())) {
    const bool leaves = is_old(record) || others > 0;
    if (leaves && !is_old(record)) --others;
    if (leaves) found.push_back(record);
  }
  return found;
}

// What leaves for so many misses, and what has expired.
std::vector<int32_t> RecordCache::victims(const std::vector<int32_t> &selected, size_t misses,
                                          int64_t step) const {
  std::vector<uint8_t> chosen(slot_of_.size());
  for (const int32_t record : selected) chosen[record] = 1;
  std::vector<int32_t> candidates;
  size_t free = 0;
  for (const int32_t record : record_in_) {
    if (record < 0) ++free;
    if (record < pinned_ || chosen[record]) continue;  // a free slot is below any record
    candidates.push_back(record);
  }
  const size_t count = misses > free ? misses - free : 0;
  return ranks_.expires() ? expired(candidates, count, step) : lowest(candidates, count);
}

Admission RecordCache::admit(const std::vector<int32_t> &selected, int64_t step, bool whole) {
  Admission admission;
  std::vector<int32_t> misses;
  for (const int32_t record : selected) {
    ranks_.note(record, step, whole);
    if (slot_of_[record] < 0) misses.push_back(record);
    else admission.hits.push_back({record, slot_of_[record]});
  }
  admission.streamed = misses;
  if (!ranks_.admits()) return admission;
  admission.evicted = victims(selected, misses.size(), step);
  drop(admission.evicted);
  if (std::find(record_in_.begin(), record_in_.end(), -1) == record_in_.end()) return admission;
  std::stable_sort(misses.begin(), misses.end(),
                   [&](int32_t a, int32_t b) { return ranks_.of(a) > ranks_.of(b); });
  admission.admitted = place(misses);
  admission.streamed.assign(misses.begin() + static_cast<long>(admission.admitted.size()),
                            misses.end());
  std::sort(admission.streamed.begin(), admission.streamed.end());
  if (ranks_.expires() && !whole)
    window_ = ranks_.adapted(window_, step, static_cast<size_t>(pinned_), slots() - pinned_,
                             misses.size(), selected.size());
  return admission;
}

// Records in another slot than that of their number.
std::vector<int32_t> RecordCache::astray() const {
  std::vector<int32_t> found;
  for (int32_t record = 0; record < static_cast<int32_t>(slot_of_.size()); ++record)
    if (slot_of_[record] >= 0 && slot_of_[record] != record) found.push_back(record);
  return found;
}

Resize RecordCache::resize(int32_t slots, int32_t pinned) {
  Resize resize;
  pinned_ = std::min(pinned, slots);
  if (pinned_ == static_cast<int32_t>(slot_of_.size())) resize.evicted = astray();
  drop(resize.evicted);
  std::vector<int32_t> missing, candidates, moving;
  for (int32_t record = 0; record < pinned_; ++record)
    if (slot_of_[record] < 0) missing.push_back(record);
  size_t wanted = missing.size();
  for (const int32_t record : record_in_) {
    if (record >= 0) ++wanted;
    if (record >= pinned_) candidates.push_back(record);
  }
  const size_t room = static_cast<size_t>(slots);
  const std::vector<int32_t> leaving = lowest(candidates, wanted > room ? wanted - room : 0);
  drop(leaving);
  resize.evicted.insert(resize.evicted.end(), leaving.begin(), leaving.end());
  for (int32_t slot = slots; slot < this->slots(); ++slot)
    if (record_in_[slot] >= 0) {
      resize.moved.push_back({record_in_[slot], slot, -1});
      moving.push_back(record_in_[slot]);
    }
  drop(moving);
  record_in_.resize(room, -1);
  const std::vector<Placed> moved = place(moving);
  for (size_t i = 0; i < moved.size(); ++i) resize.moved[i].to = moved[i].slot;
  resize.admitted = place(missing);
  return resize;
}

std::vector<Placed> RecordCache::open(const std::vector<int32_t> &records) {
  if (!ranks_.admits()) return {};
  const auto free = static_cast<size_t>(std::count(record_in_.begin(), record_in_.end(), -1));
  std::vector<int32_t> chosen;
  for (const int32_t record : records)
    if (slot_of_[record] < 0 && chosen.size() < free) chosen.push_back(record);
  std::sort(chosen.begin(), chosen.end());
  for (const int32_t record : chosen) ranks_.note(record, -1, true);
  return place(chosen);
}

void RecordCache::lose(const std::vector<int32_t> &records) {
  for (const int32_t record : records)
    if (slot_of_[record] >= 0) drop({record});
}

std::vector<Placed> RecordCache::resident() const {
  std::vector<Placed> found;
  for (int32_t record = 0; record < static_cast<int32_t>(slot_of_.size()); ++record)
    if (slot_of_[record] >= 0) found.push_back({record, slot_of_[record]});
  return found;
}

// What is pinned never leaves.
std::vector<int32_t> RecordCache::by_worth() const {
  std::vector<int32_t> records = records_of(resident());
  std::stable_sort(records.begin(), records.end(), [&](int32_t a, int32_t b) {
    if (a < pinned_ || b < pinned_) return a < pinned_ && b >= pinned_;
    return ranks_.of(a) > ranks_.of(b);
  });
  return records;
}

}  // namespace pocket
