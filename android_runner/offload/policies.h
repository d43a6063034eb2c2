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
  void note(int32_t record, int64_t step) {
    ++counts_[record];
    last_[record] = step;
  }
  int64_t of(int32_t record) const;
  int64_t last(int32_t record) const { return last_[record]; }
  bool admits() const { return policy_ != Policy::Static; }
  bool expires() const { return policy_ == Policy::Window; }

 private:
  Policy policy_ = Policy::Static;
  std::vector<int64_t> counts_, last_;  // last: a step; -1: never
  std::vector<float> importance_;
};

}  // namespace pocket
