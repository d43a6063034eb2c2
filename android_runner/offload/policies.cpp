#include "offload/policies.h"

#include <cstring>
#include <map>

namespace pocket {

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

}  // namespace pocket
