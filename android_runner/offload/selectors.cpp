#include "offload/selectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/failure.h"

namespace pocket {
namespace {

float number_or_0(float value) { return std::isnan(value) ? 0.0f : value; }

// Sizes as integers: of floats that are not negative the bits have the order of the values.
std::vector<uint32_t> sizes_of(const Select &rule, const float *values, size_t count,
                               const std::vector<uint8_t> &resident) {
  const float gamma = static_cast<float>(rule.gamma);
  std::vector<uint32_t> sizes(count);
  for (size_t i = 0; i < count; ++i) {
    float size = std::fabs(number_or_0(values[i]));
    if (!resident[i]) size *= gamma;
    memcpy(&sizes[i], &size, sizeof size);
  }
  return sizes;
}

template <class Chosen>
std::vector<int32_t> where(int32_t count, const Chosen &chosen) {
  std::vector<int32_t> indices(static_cast<size_t>(count));
  size_t found = 0;
  for (int32_t i = 0; i < count; ++i) {  // no branch: which are chosen can't be foreseen
    indices[found] = i;
    found += chosen(i) ? 1 : 0;
  }
  indices.resize(found);
  return indices;
}

std::vector<int32_t> top(const Select &rule, const std::vector<uint32_t> &sizes) {
  const auto all = static_cast<int64_t>(sizes.size());
  const int64_t k = std::clamp<int64_t>(rule.k, 0, all);
  if (k == 0) return {};
  std::vector<uint32_t> sorted = sizes;  // as far as the least one that is taken
  std::nth_element(sorted.begin(), sorted.begin() + (all - k), sorted.end());
  const uint32_t least = sorted[static_cast<size_t>(all - k)];
  int64_t ties = k - std::count_if(sizes.begin(), sizes.end(),
                                   [least](uint32_t size) { return size > least; });
  return where(static_cast<int32_t>(all), [&](int32_t i) {
    return sizes[i] > least || (sizes[i] == least && ties-- > 0);
  });
}

std::vector<int32_t> above(const Select &rule, const float *values, int32_t count) {
  const float threshold = static_cast<float>(rule.threshold);
  return where(count, [&](int32_t i) {
    const float value = number_or_0(values[i]);
    return (rule.magnitude ? std::fabs(value) : value) > threshold;
  });
}

std::vector<int32_t> distinct(const Scores &scores, int32_t count) {
  std::vector<int32_t> ids(scores.ids, scores.ids + scores.ids_count);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  if (!ids.empty() && (ids.front() < 0 || ids.back() >= count))
    throw Failure("id " + std::to_string(ids.front() < 0 ? ids.front() : ids.back()) +
                      " has no record",
                  "the table has records for 0 to " + std::to_string(count - 1),
                  "compile the model again");
  return ids;
}

}  // namespace

std::vector<int32_t> select(const Select &rule, const Scores &scores, int32_t count,
                            const std::vector<uint8_t> &resident) {
  const float *values = scores.values;
  switch (rule.by) {
    case Select::All: return where(count, [](int32_t) { return true; });
    case Select::Above: return above(rule, values, count);
    case Select::Top: return top(rule, sizes_of(rule, values, count, resident));
    case Select::Nonzero:
      return where(count, [&](int32_t i) { return number_or_0(values[i]) != 0; });
    case Select::Ids: return distinct(scores, count);
  }
  return {};
}

}  // namespace pocket
