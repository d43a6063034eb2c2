#include "offload/governor.h"

#include <algorithm>

namespace pocket {
namespace {

constexpr double KEPT = 11.0 / 13;   // of an average, with each token: it tells of about 12
constexpr double LEAST_S = 1e-4;     // of a token's reads: below, they tell of this program's own time
constexpr double STAYS = 1.1;        // a speed is left where another one is nearer by this factor
constexpr double BAND = 1.0 / 16;    // of a budget: one that differs by less is the same

// By how many times the one is the other, or the other the one.
double ratio(double one, double other) { return std::max(one / other, other / one); }

int sign_of(std::optional<int64_t> wanted, std::optional<int64_t> now) {
  if (!wanted || !now) return wanted.has_value();
  return (*wanted > *now) - (*wanted < *now);
}

}  // namespace

bool Governor::observe(int64_t tokens, double predicted_s, double seconds) {
  const double each = 1 / static_cast<double>(std::max<int64_t>(1, tokens));
  double kept = 1;
  for (int64_t i = 0; i < tokens; ++i) kept *= KEPT;
  predicted_s_ = kept * predicted_s_ + (1 - kept) * each * predicted_s;
  seconds_ = kept * seconds_ + (1 - kept) * each * seconds;
  tokens_ += tokens;
  if (tokens_ < WINDOW) return false;
  tokens_ = 0;
  return true;
}

double Governor::slowness() const {
  return predicted_s_ < LEAST_S || seconds_ <= 0 ? 1 : seconds_ / predicted_s_;
}

double Governor::wanted_speed() const {
  if (predicted_s_ < LEAST_S || seconds_ <= 0) return now_.flash;
  const double speed = predicted_s_ / seconds_;
  double nearest = now_.flash;
  for (const double each : speeds_)
    if (ratio(each, speed) < ratio(nearest, speed)) nearest = each;
  return ratio(nearest, speed) * STAYS < ratio(now_.flash, speed) ? nearest : now_.flash;
}

std::optional<int64_t> Governor::wanted_budget(std::optional<int64_t> budget) const {
  if (!budget || !now_.budget) return budget ? budget : now_.budget;
  const double now = static_cast<double>(*now_.budget), wanted = static_cast<double>(*budget);
  return wanted < now * (1 - BAND) || wanted > now * (1 + BAND) ? budget : now_.budget;
}

std::optional<Governor::Choice> Governor::decide(std::optional<int64_t> budget) {
  const double speed = wanted_speed();
  const std::optional<int64_t> memory = wanted_budget(budget);
  const int sign = sign_of(memory, now_.budget);
  const bool flash = speed != now_.flash && speed == speed_before_;
  const bool resize = sign != 0 && sign == sign_before_;
  speed_before_ = speed;
  sign_before_ = sign;
  if (!flash && !resize) return std::nullopt;
  if (flash) now_.flash = speed;
  if (resize) {
    now_.budget = memory;
    sign_before_ = 0;
  }
  return now_;
}

}  // namespace pocket
