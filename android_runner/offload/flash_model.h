// What a read from flash costs: seconds by its size and order. toolkit/offload/flash_model.py is
// the same, and says where the presets come from.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/tables.h"

namespace pocket {

// Of a read: anywhere, or where the one before it ended.
enum class ReadPlace { Random, Sequential };

class FlashModel {
 public:
  struct Rate {
    int64_t bytes;  // of a read
    double bytes_per_s;
  };

  // A read takes `alpha_s` and 1 / `bytes_per_s` for each byte; a batch of reads `latency_s` more.
  FlashModel(double alpha_s, double bytes_per_s, double latency_s = 0)
      : alpha_s_(alpha_s), bytes_per_s_(bytes_per_s), latency_s_(latency_s) {}
  // As measured, by ascending bytes, neither list empty.
  FlashModel(std::vector<Rate> random, std::vector<Rate> sequential, double latency_s = 0)
      : latency_s_(latency_s), random_(std::move(random)), sequential_(std::move(sequential)) {}

  // As a plan tells of it.
  explicit FlashModel(const PlannedFlash &planned);

  // ufs40 and the like; nothing where the name is unknown.
  static std::optional<FlashModel> preset(const std::string &name);
  static std::vector<std::string> presets();

  // Between the sizes of a table the logarithm of the time is linear in that of the size; below the
  // least a read takes as long as that one, above the greatest it has that one's rate.
  double seconds(int64_t bytes, ReadPlace place = ReadPlace::Random) const;
  double latency_s() const { return latency_s_; }

 private:
  double alpha_s_ = 0, bytes_per_s_ = 1, latency_s_ = 0;
  std::vector<Rate> random_, sequential_;
};

FlashModel flash_called(const std::string &name);  // the preset; throws Failure where there is none

}  // namespace pocket
