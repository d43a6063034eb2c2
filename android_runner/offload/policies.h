// Which records a cache keeps: a rank by the uses so far; the least ranks leave first.
// toolkit/offload/policies.py is the same.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pocket {

// static: what is pinned, and all else is streamed. lru: what was used last. window: likewise, and
// what was not used for a number of steps leaves. lfu: what was used most often. importance: counts
// times what a record adds on average.
enum class Policy { Static, Lru, Lfu, Window, Importance };

std::optional<Policy> find_policy(const std::string &name);

// What the records of a table were needed for. Whatever the policy, counts and last uses are kept.
class Ranks {
 public:
  // `importance`: by record; empty: all are alike.
  Ranks(size_t count, std::vector<float> importance)
      : counts_(count), last_(count, -1), importance_(std::move(importance)) {}
  void follow(Policy policy) { policy_ = policy; }
  // `whole`: all records are read, whatever the text; that doesn't tell which of them it uses.
  void note(int32_t record, int64_t step, bool whole) {
    ++counts_[record];
    if (!whole) last_[record] = step;
  }
  int64_t of(int32_t record) const;
  bool admits() const { return policy_ != Policy::Static; }
  bool expires() const { return policy_ == Policy::Window; }
  // Whether a record was selected, and not after this step.
  bool expired(int32_t record, int64_t step) const {
    return last_[record] >= 0 && last_[record] <= step;
  }
  // Steps that a window has after this one: it grows by one while what its steps used of the
  // records from `pinned` on fits into `room` slots and too many are missed, and shrinks to what
  // fits. adapted of policies.py is the same.
  int64_t adapted(int64_t window, int64_t step, size_t pinned, int64_t room, size_t misses,
                  size_t selected) const;

 private:
  Policy policy_ = Policy::Static;
  std::vector<int64_t> counts_, last_;  // last: a step; -1: never
  std::vector<float> importance_;
};

}  // namespace pocket
