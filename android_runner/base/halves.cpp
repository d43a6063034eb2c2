#include "base/halves.h"

#include <algorithm>

#include "base/half.h"
#include "base/json.h"

namespace pocket {
namespace {

// Of sizes, the bits are in the order of the numbers.
constexpr uint16_t SIZE = 0x7fff, INFINITE = 0x7c00, NEAR = 0x77d0;  // NEAR: 32,000

}  // namespace

void Halves::add(const std::string &name, const std::vector<uint16_t> &values) {
  const auto same = [&name](const Count &each) { return each.name == name; };
  auto count = std::find_if(counts_.begin(), counts_.end(), same);
  if (count == counts_.end()) count = counts_.insert(counts_.end(), {name});
  for (const uint16_t value : values) {
    const uint16_t size = value & SIZE;
    if (size >= INFINITE) {
      ++count->not_finite;
      continue;
    }
    count->largest = std::max(count->largest, size);
    count->near += size > NEAR;
  }
}

std::string Halves::json() const {
  std::string list;
  for (const Count &each : counts_)
    list += (list.empty() ? "" : ",\n") + Record()
                                              .add("value", each.name)
                                              .add("largest", static_cast<double>(from_half(each.largest)))
                                              .add("near", each.near)
                                              .add("not_finite", each.not_finite)
                                              .text();
  return "[" + list + "]\n";
}

}  // namespace pocket
