// Whether the steps of a phase are replayed or enqueued one by one: decided at the start, watched
// while they run.
#pragma once
#include <string>

namespace pocket {

class Pace {
 public:
  void choose(bool recorded, const std::string &why);
  void measured(double plain_s, double recorded_s) { plain_s_ = plain_s, recorded_s_ = recorded_s; }
  void watch() { watched_ = true; }

  bool next();       // before every step: whether it is replayed
  void interrupt();  // something else ran since the last step

  std::string json() const;

 private:
  static constexpr int EVERY = 512;      // steps from one check to the next
  static constexpr int WINDOW = 12;      // steps of each way in a check
  static constexpr int SETTLE = 4;       // the first of them: still under the other way's influence
  static constexpr double MARGIN = 1.1;  // this much slower counts as slower
  static constexpr int STRIKES = 2;      // so many checks in a row end it

  void judge();
  double typical(int window);

  bool recorded_ = false, watched_ = false;
  std::string why_ = "the phase is not recordable";
  double plain_s_ = 0, recorded_s_ = 0;  // of one step, as last measured
  int step_ = 0, strikes_ = 0;
  double last_ = 0, steps_s_[2 * WINDOW];
};

}  // namespace pocket
