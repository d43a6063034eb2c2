// Halves as floats, without library functions: not every phone's libm has them.
#pragma once
#include <cmath>
#include <cstdint>

namespace pocket {

inline float from_half(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  float size = static_cast<float>(exponent ? 1024 + mantissa : mantissa) / (1 << 24);
  if (exponent) size *= static_cast<float>(1u << (exponent - 1));
  if (exponent == 31) size = mantissa != 0 ? NAN : INFINITY;
  return bits & 0x8000 ? -size : size;
}

}  // namespace pocket
