// How the steps of a phase are launched: decided at the start, watched while they run.
//
// Beside plain launches there is at most one other mode, which is faster while nothing disturbs it.
// Disturbed it may be far slower: work-groups that wait for each other collapse when another
// process takes a core. So one step that takes much longer than a plain one, or several that take
// longer, end it for a while; it is tried again after a rest that grows, and is long enough that
// what the tries lose is a small share of the time. The only clock is what `took` reports.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace pocket {

enum class LaunchMode { Plain, Recorded, Cooperative };
constexpr size_t LAUNCH_MODES = 3;
constexpr size_t index_of(LaunchMode mode) { return static_cast<size_t>(mode); }
const char *name_of(LaunchMode mode);  // as `json` has it

class ModeSwitch {
 public:
  void choose(LaunchMode mode, const std::string &why);
  void measured(LaunchMode mode, double seconds) { step_s_[index_of(mode)] = seconds; }
  void refused(LaunchMode mode, const std::string &why) { refused_[index_of(mode)] = why; }
  std::string refusal() const { return refused_[index_of(LaunchMode::Recorded)]; }
  // Steps are others from here on: plain ones, until a mode is chosen; no time is known of them.
  void forget(const std::string &why);
  // From here on this mode or the plain one: first the one chosen, or, where what was tried out isn't
  // all that steps do, plain ones until their time is known.
  void watch(LaunchMode fast, bool tried_whole = true);

  LaunchMode next();          // before every step: its mode
  void took(double seconds);  // of the earliest step whose time is not reported yet
  void skip();                // the time of that step is not known
  void settled();             // no times of the steps under way will be reported

  std::string json() const;

 private:
  static constexpr int WINDOW = 12;         // steps that a typical time comes from
  static constexpr int SETTLE = 4;          // plain steps before them, under the other's influence
  static constexpr int EVERY = 512;         // steps until the plain time is looked at again
  static constexpr double JUMP = 1.5;       // one step this much slower than a plain one ends it
  static constexpr double MARGIN = 1.05;    // several steps that are this much slower end it
  static constexpr double LOSS = 0.1;       // of a rest: what the try before it may have cost
  static constexpr double LONGEST_S = 4.0;  // rests grow up to this
  static constexpr double ENOUGH_S = 15.0;  // whatever was lost: the process may have been stopped
  static constexpr int NOTED = 3;           // failed tries in a row that are worth a note
  static constexpr size_t UNDER_WAY = 8;    // steps, at most

  double &plain_s() { return step_s_[index_of(LaunchMode::Plain)]; }
  void take(double seconds);
  void ran_fast(double seconds);
  void ran_plain();
  void fall_back();
  void begin(LaunchMode mode);

  LaunchMode now_ = LaunchMode::Plain, fast_ = LaunchMode::Plain;
  bool watched_ = false, resting_ = false, noted_ = false;
  std::string why_ = "the phase is not recordable", refused_[LAUNCH_MODES];
  double step_s_[LAUNCH_MODES] = {};  // of one step, as last measured
  int steps_ = 0, failures_ = 0;      // steps since the mode changed; failed tries in a row
  double rest_s_ = 0, lost_s_ = 0;    // still to rest; lost against plain steps since it was tried
  double window_[WINDOW] = {};
  size_t taken_ = 0;  // entries of it
  LaunchMode sent_[UNDER_WAY] = {};
  size_t first_ = 0, count_ = 0;  // of those under way
};

}  // namespace pocket
