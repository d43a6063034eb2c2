// SHA-256 (FIPS 180-4).
#pragma once
#include <array>
#include <cstdint>
#include <string>

namespace pocket {

class Sha256 {
 public:
  void update(const void *data, size_t size);
  std::string hex();  // 64 lower-case digits; ends the computation

 private:
  void block(const uint8_t *data);
  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t size_ = 0;
  uint8_t pending_[64];
};

std::string sha256(const std::string &text);

}  // namespace pocket
