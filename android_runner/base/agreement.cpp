#include "base/agreement.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/half.h"

namespace pocket {
namespace {

constexpr float SHARE = 1.0f / 16;

template <class T>
T at(const std::string &bytes, size_t index) {
  T value;
  memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
  return value;
}

struct Pair {
  float one, other;
};

std::vector<Pair> changed_floats(size_t size, const std::string &before, const std::string &one,
                                 const std::string &other) {
  std::vector<Pair> found;
  for (size_t i = 0; (i + 1) * size <= one.size(); ++i) {
    if (memcmp(one.data() + i * size, before.data() + i * size, size) == 0) continue;
    if (size == 4) found.push_back({at<float>(one, i), at<float>(other, i)});
    else found.push_back({from_half(at<uint16_t>(one, i)), from_half(at<uint16_t>(other, i))});
  }
  return found;
}

bool same_kind(float one, float other) {
  return std::isfinite(one) ? std::isfinite(other)
                            : one == other || (std::isnan(one) && std::isnan(other));
}

bool agree(const std::vector<Pair> &pairs) {
  double squares = 0;
  size_t finite = 0;
  for (const Pair &pair : pairs) {
    if (!same_kind(pair.one, pair.other)) return false;
    if (!std::isfinite(pair.one)) continue;
    squares += double{pair.one} * pair.one;
    ++finite;
  }
  const double usual = finite ? std::sqrt(squares / static_cast<double>(finite)) : 0;
  for (const Pair &pair : pairs) {
    const double apart = std::fabs(double{pair.one} - pair.other);
    if (std::isfinite(pair.one) && apart > SHARE * (std::fabs(double{pair.one}) + usual))
      return false;
  }
  return true;
}

}  // namespace

bool comparable(const std::string &dtype) {
  return dtype == "f32" || dtype == "f16" || dtype == "i32";
}

bool agree(const std::string &dtype, const std::string &before, const std::string &one,
           const std::string &other) {
  if (dtype == "i32") return one == other;
  return agree(changed_floats(dtype == "f32" ? 4 : 2, before, one, other));
}

}  // namespace pocket
