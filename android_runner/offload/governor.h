// When a run goes on at another point: it looks at how long reads take, and at the memory that there
// is. toolkit/offload/governor.py decides the same, given the same.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace pocket {

// What a run may take of so many bytes that a system has to give: nine of ten.
inline int64_t budget_from(int64_t bytes) { return bytes / 10 * 9; }

class Governor {
 public:
  static constexpr int64_t WINDOW = 8;  // tokens between two looks; a change needs two that agree

  struct Choice {
    std::optional<int64_t> budget;  // bytes; none: as the last point
    double flash;                   // its speed against the profile's
  };

  // `speeds`: of flash, that the plan has points for.
  Governor(std::vector<double> speeds, const Choice &now) : speeds_(std::move(speeds)), now_(now) {}

  // So many tokens took `seconds` for reads that the profile takes `predicted_s` for. True where
  // `decide` is to be asked now.
  bool observe(int64_t tokens, double predicted_s, double seconds);
  // What to go on with, where that is something else. `budget`: bytes that there are now, where the
  // run is to follow them.
  std::optional<Choice> decide(std::optional<int64_t> budget = {});
  void use(int64_t budget) { now_.budget = budget; }  // somebody has asked for it
  void stay(const Choice &now) { now_ = now; }        // what was decided can't be

  // Seconds that reads take for each second that was predicted, lately; 1 where that isn't known.
  double slowness() const;

 private:
  double wanted_speed() const;
  std::optional<int64_t> wanted_budget(std::optional<int64_t> budget) const;

  const std::vector<double> speeds_;
  Choice now_;
  double predicted_s_ = 0, seconds_ = 0;  // a token's, averaged over those before
  int64_t tokens_ = 0;                    // since the last look
  double speed_before_ = 0;               // that the last look wanted
  int sign_before_ = 0;                   // whether it wanted more memory, or less
};

}  // namespace pocket
