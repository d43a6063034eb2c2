#include "base/vectors.h"

#include <cstring>

#include "base/half.h"

namespace pocket {
namespace {

template <class T>
void put(std::string &bytes, size_t index, T value) {
  memcpy(&bytes[index * sizeof value], &value, sizeof value);
}

template <class T>
T get(const std::string &bytes, size_t index) {
  T value;
  memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
  return value;
}

// Of a whole number of 64ths that a half holds exactly.
uint16_t half_of(int64_t parts) {
  int64_t size = parts < 0 ? -parts : parts;
  if (size == 0) return 0;
  int exponent = 15 - 6 + 10;  // of 1024 64ths
  for (; size < 1024; size *= 2) --exponent;
  return static_cast<uint16_t>((parts < 0 ? 0x8000 : 0) | exponent << 10 | (size & 1023));
}

size_t width(const std::string &dtype) {
  return dtype == "f16" ? 2 : dtype == "u8" ? 1 : dtype == "i64" ? 8 : 4;
}

double element(const std::string &dtype, const std::string &bytes, size_t i) {
  if (dtype == "f32") return get<float>(bytes, i);
  if (dtype == "f16") return from_half(get<uint16_t>(bytes, i));
  if (dtype == "i32") return get<int32_t>(bytes, i);
  if (dtype == "i64") return static_cast<double>(get<int64_t>(bytes, i));
  return dtype == "u8" ? get<uint8_t>(bytes, i) : get<uint32_t>(bytes, i);
}

}  // namespace

uint32_t hash(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  return x ^ x >> 16;
}

std::string drawn(const std::string &dtype, size_t count, uint32_t seed, int64_t low,
                  int64_t span) {
  std::string bytes(count * width(dtype), '\0');
  for (size_t i = 0; i < count; ++i) {
    const int64_t whole = low + hash(seed + static_cast<uint32_t>(i)) % span;
    if (dtype == "f32") put(bytes, i, static_cast<float>(static_cast<double>(whole) / PARTS));
    else if (dtype == "f16") put(bytes, i, half_of(whole));
    else memcpy(&bytes[i * width(dtype)], &whole, width(dtype));  // the low bytes come first
  }
  return bytes;
}

std::array<double, SUMS> sums_of(const std::string &dtype, const std::string &elements) {
  std::array<double, SUMS> sums{};
  for (size_t i = 0; i < elements.size() / width(dtype); ++i) {
    const double value = element(dtype, elements, i);
    const uint32_t signs = hash(static_cast<uint32_t>(i));
    for (size_t j = 0; j < SUMS; ++j) sums[j] += signs >> j & 1 ? -value : value;
  }
  return sums;
}

}  // namespace pocket
