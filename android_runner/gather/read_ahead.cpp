#include "gather/read_ahead.h"

#include <algorithm>
#include <utility>

namespace pocket {

int64_t ReadAhead::bytes(const Plan &plan, const Point &point) {
  int64_t most = 0;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.prefetch && !point.ahead.empty())
        most = std::max(most, point.ahead[step.prefetch->number] *
                                  plan.tables[step.prefetch->table].bytes);
  return 2 * most;
}

void ReadAhead::begin(size_t number, const Table &table, const Ahead &found) {
  turn_ ^= 1;
  Set &set = sets_[turn_];
  settle(set);
  set.table = number;
  set.each = table.bytes;
  set.records = found.records;
  set.content.resize(std::max(set.content.size(), found.records.size() *
                                                      static_cast<size_t>(table.bytes)));
  std::vector<Batch> batches;
  for (size_t run = 0, first = 0; first < found.records.size(); first = set.pieces.back().end) {
    const size_t begin = run, end = std::min(found.records.size(), first + AT_ONCE);
    const std::vector<int32_t> records(set.records.begin() + static_cast<long>(first),
                                       set.records.begin() + static_cast<long>(end));
    std::vector<char *> to;
    for (size_t i = first; i < end; ++i)
      to.push_back(set.content.data() + static_cast<int64_t>(i) * table.bytes);
    while (run < found.runs.size() && found.runs[run].first < end) ++run;
    batches.push_back(reads_of(table, found.runs.data() + begin, run - begin, records, to));
    set.pieces.push_back({end, false, false});
  }
  set.first = pool_.submit_later(std::move(batches));
}

ReadAhead::Set *ReadAhead::of(size_t table) {
  for (const size_t i : {turn_, turn_ ^ 1})  // the last one first: a table may have both
    if (!sets_[i].pieces.empty() && sets_[i].table == table) return &sets_[i];
  return nullptr;
}

void ReadAhead::expect(size_t table, const std::vector<int32_t> &records) {
  if (Set *const set = of(table)) sort_out(*set, records);
}

void ReadAhead::sort_out(Set &set, const std::vector<int32_t> &records) {
  std::vector<bool> wanted;
  size_t first = 0;
  for (const Piece &piece : set.pieces) {
    const auto begin = set.records.begin();
    wanted.push_back(std::any_of(begin + static_cast<long>(first),
                                 begin + static_cast<long>(piece.end),
                                 [&](int32_t each) { return among(records, each); }));
    first = piece.end;
  }
  const std::vector<bool> over = pool_.sort_out(set.first, wanted);
  for (size_t i = 0; i < over.size(); ++i) set.pieces[i].over = over[i];
}

const char *ReadAhead::wait(size_t table, int32_t record) {
  Set *const set = of(table);
  if (!set) return nullptr;
  const auto found = std::find(set->records.begin(), set->records.end(), record);
  if (found == set->records.end()) return nullptr;
  const auto at = static_cast<size_t>(found - set->records.begin());
  size_t number = 0;
  while (set->pieces[number].end <= at) ++number;
  Piece &piece = set->pieces[number];
  try {
    if (!std::exchange(piece.over, true)) pool_.wait(set->first + number);
  } catch (const Failure &) {  // who reads the record alone is told why it can't be
    piece.failed = true;
  }
  return piece.failed ? nullptr : set->content.data() + static_cast<int64_t>(at) * set->each;
}

void ReadAhead::settle(Set &set) {
  if (!set.pieces.empty()) sort_out(set, {});
  for (size_t i = 0; i < set.pieces.size(); ++i) try {
      if (!set.pieces[i].over) pool_.wait(set.first + i);
    } catch (const Failure &) {  // who needed it has been told
    }
  set.pieces.clear();
}

void ReadAhead::settle() {
  for (Set &set : sets_) {
    settle(set);
    set = {};
  }
}

}  // namespace pocket
