// Which way the steps of a phase go: decided at the start, watched while they run.
//
// Beside the plain way there is at most one other, which is faster while nothing disturbs it.
// Disturbed it may be far slower: work-groups that wait for each other collapse when another process
// takes a core. So one step that takes much longer than a plain one, or several that take longer,
// end it for a while; it is tried again after a rest that grows, and is long enough that what the
// tries lose is a small share of the time. Time is only what `took` is told.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace pocket {

enum class Way { Plain, Recorded, Cooperative };
constexpr size_t WAYS = 3;
const char *name_of(Way way);  // as `choices` tells it

class Pace {
 public:
  void choose(Way way, const std::string &why) { now_ = fast_ = way, why_ = why; }
  void measured(Way way, double seconds) { step_s_[index(way)] = seconds; }
  void refused(Way way, const std::string &why) { refused_[index(way)] = why; }
  std::string refusal() const { return refused_[index(Way::Recorded)]; }
  void watch(Way fast);  // from here on this way or the plain one; first the one chosen

  Way next();                 // before every step: its way
  void took(double seconds);  // the earliest step not told of yet
  void skip();                // nobody knows how long that one took
  void settled();             // steps that are under way won't be told of

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
  static constexpr int TOLD = 3;            // failed tries in a row that are worth a note
  static constexpr size_t UNDER_WAY = 8;    // steps, at most

  static constexpr size_t index(Way way) { return static_cast<size_t>(way); }
  double &plain_s() { return step_s_[0]; }
  void take(double seconds);
  void ran_fast(double seconds);
  void ran_plain();
  void fall_back();
  void begin(Way way) { now_ = way, steps_ = 0, taken_ = 0; }

  Way now_ = Way::Plain, fast_ = Way::Plain;
  bool watched_ = false, resting_ = false, noted_ = false;
  std::string why_ = "the phase is not recordable", refused_[WAYS];
  double step_s_[WAYS] = {};       // of one step, as last measured
  int steps_ = 0, failures_ = 0;   // steps since the way changed; failed tries in a row
  double rest_s_ = 0, lost_s_ = 0;  // still to rest; lost against plain steps since it was tried
  double window_[WINDOW] = {};
  size_t taken_ = 0;  // entries of it
  Way sent_[UNDER_WAY] = {};
  size_t first_ = 0, count_ = 0;  // of those under way
};

}  // namespace pocket
