#include "offload/flash_model.h"

#include <cmath>
#include <map>

#include "base/failure.h"

namespace pocket {
namespace {

struct Formula {
  double alpha_s, bytes_per_s;
};

const std::map<std::string, Formula> FLASHES = {{"ufs40", {2.95e-6, 3.57e9}},
                                                {"ufs31", {5.3e-6, 2.0e9}},
                                                {"ufs21", {21e-6, 0.5e9}},
                                                {"m1max", {10.4e-6, 6.1e9}},
                                                {"a18", {0, 1e9}}};

double log_seconds(const FlashModel::Rate &rate) {
  return std::log(static_cast<double>(rate.bytes) / rate.bytes_per_s);
}

double seconds_by(const std::vector<FlashModel::Rate> &table, int64_t bytes) {
  const double size = static_cast<double>(bytes);
  if (bytes > table.back().bytes) return size / table.back().bytes_per_s;
  if (bytes <= table.front().bytes) return std::exp(log_seconds(table.front()));
  size_t next = 1;
  while (table[next].bytes < bytes) ++next;
  const double low = std::log(static_cast<double>(table[next - 1].bytes));
  const double high = std::log(static_cast<double>(table[next].bytes));
  const double before = log_seconds(table[next - 1]), after = log_seconds(table[next]);
  return std::exp(before + (after - before) * (std::log(size) - low) / (high - low));
}

std::vector<FlashModel::Rate> rates_of(const std::vector<std::pair<int64_t, double>> &rows) {
  std::vector<FlashModel::Rate> rates;
  for (const auto &[bytes, bytes_per_s] : rows) rates.push_back({bytes, bytes_per_s});
  return rates;
}

}  // namespace

FlashModel::FlashModel(const PlannedFlash &planned)
    : alpha_s_(planned.alpha_s),
      bytes_per_s_(planned.bytes_per_s),
      latency_s_(planned.latency_s),
      random_(rates_of(planned.random)),
      sequential_(rates_of(planned.sequential)) {}

std::optional<FlashModel> FlashModel::preset(const std::string &name) {
  const auto found = FLASHES.find(name);
  if (found == FLASHES.end()) return std::nullopt;
  return FlashModel(found->second.alpha_s, found->second.bytes_per_s);
}

std::vector<std::string> FlashModel::presets() {
  std::vector<std::string> names;
  for (const auto &entry : FLASHES) names.push_back(entry.first);
  return names;
}

FlashModel flash_called(const std::string &name) {
  if (const auto found = FlashModel::preset(name)) return *found;
  std::string known;
  for (const std::string &each : FlashModel::presets()) known += (known.empty() ? "" : ", ") + each;
  throw Failure("no flash is called " + name, "there are " + known, "--flash with one of these");
}

double FlashModel::seconds(int64_t bytes, ReadPlace place) const {
  const auto &table = place == ReadPlace::Random ? random_ : sequential_;
  if (!table.empty()) return seconds_by(table, bytes);
  return alpha_s_ + static_cast<double>(bytes) / bytes_per_s_;
}

}  // namespace pocket
