#include "offload/policies.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace pocket {
namespace {

constexpr size_t MISSED = 20;  // a window grows while it misses more than one in so many
constexpr int64_t MOST_WINDOW = 4096;

}  // namespace

std::optional<Policy> find_policy(const std::string &name) {
  static const std::map<std::string, Policy> policies = {{"static", Policy::Static},
                                                         {"lru", Policy::Lru},
                                                         {"lfu", Policy::Lfu},
                                                         {"window", Policy::Window},
                                                         {"importance", Policy::Importance}};
  const auto found = policies.find(name);
  return found == policies.end() ? std::nullopt : std::optional(found->second);
}

int64_t Ranks::of(int32_t record) const {
  if (policy_ == Policy::Lru || policy_ == Policy::Window) return last_[record];
  if (policy_ != Policy::Importance) return counts_[record];
  float size = static_cast<float>(counts_[record]);
  if (!importance_.empty()) size *= importance_[record];
  int32_t bits = 0;  // of floats that are at least 0 they have the order of the values
  memcpy(&bits, &size, sizeof bits);
  return bits;
}

int64_t Ranks::adapted(int64_t window, int64_t step, size_t pinned, int64_t room, size_t misses,
                       size_t selected) const {
  std::vector<int64_t> used(static_cast<size_t>(window) + 1);  // by age
  for (size_t record = pinned; record < last_.size(); ++record)
    if (last_[record] >= std::max<int64_t>(0, step - window))
      ++used[static_cast<size_t>(step - last_[record])];
  int64_t fitting = 0;
  for (int64_t sum = 0; fitting <= window; ++fitting)
    if ((sum += used[static_cast<size_t>(fitting)]) > room) break;
  if (fitting <= window) return std::max<int64_t>(1, fitting);
  return std::min(MOST_WINDOW, window + (MISSED * misses > selected));
}

}  // namespace pocket
