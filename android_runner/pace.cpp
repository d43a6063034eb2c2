#include "pace.h"

#include <algorithm>
#include <cstdio>

#include "json.h"
#include "system.h"

namespace pocket {

void Pace::choose(bool recorded, const std::string &why) { recorded_ = recorded, why_ = why; }

// A check lets some steps go the recorded way, then some the plain way, and compares how far they
// lie apart. Both ways compute the same, so nobody else notices.
bool Pace::next() {
  if (!recorded_ || !watched_) return recorded_;
  const int at = ++step_ - (EVERY - 2 * WINDOW);  // of the check
  if (at < 0) return true;
  const double time = now();
  if (at > 0) steps_s_[at - 1] = time - last_;
  last_ = time;
  if (at < 2 * WINDOW) return at < WINDOW;
  step_ = 0;
  judge();
  return recorded_;
}

void Pace::interrupt() { step_ = std::min(step_, EVERY - 2 * WINDOW - 1); }

double Pace::typical(int window) {
  double *first = steps_s_ + window * WINDOW + SETTLE, *end = steps_s_ + (window + 1) * WINDOW;
  double *middle = first + (end - first) / 2;
  std::nth_element(first, middle, end);
  return *middle;
}

void Pace::judge() {
  measured(typical(1), typical(0));
  strikes_ = recorded_s_ > MARGIN * plain_s_ ? strikes_ + 1 : 0;
  if (strikes_ < STRIKES) return;
  choose(false, "recorded steps became slower");
  fprintf(stderr, "note: recorded steps became slower (%.0f us, plain ones %.0f us): no more\n",
          1e6 * recorded_s_, 1e6 * plain_s_);
}

std::string Pace::json() const {
  return Record()
      .add("chosen", recorded_ ? "command-buffer" : "plain")
      .add("why", why_)
      .add("plain_us", 1e6 * plain_s_)
      .add("recorded_us", 1e6 * recorded_s_)
      .text();
}

}  // namespace pocket
