#include "executor/mode_switch.h"

#include <algorithm>
#include <cstdio>

#include "base/json.h"

namespace pocket {

const char *name_of(Way way) {
  return way == Way::Plain ? "plain" : way == Way::Recorded ? "command-buffer" : "cooperative";
}

void Pace::watch(Way fast) {
  watched_ = true;
  resting_ = now_ == Way::Plain;
  fast_ = fast;
  rest_s_ = resting_ ? LONGEST_S : 0;
}

Way Pace::next() {
  if (watched_ && count_ < UNDER_WAY) sent_[(first_ + count_++) % UNDER_WAY] = now_;
  return now_;
}

void Pace::settled() { count_ = 0; }

void Pace::skip() {
  if (count_) first_ = (first_ + 1) % UNDER_WAY, --count_;
}

// A step of the way that was left is only counted as lost: its slowness has had its effect.
void Pace::took(double seconds) {
  if (!count_) return;
  const Way way = sent_[first_];
  skip();
  if (way != now_) {
    if (resting_ && way == fast_)
      rest_s_ = std::min(rest_s_ + std::max(0.0, seconds - plain_s()) / LOSS, ENOUGH_S);
  } else if (way == Way::Plain) {
    rest_s_ -= seconds;
    if (++steps_ > SETTLE) take(seconds);
    ran_plain();
  } else {
    ++steps_;
    take(seconds);
    ran_fast(seconds);
  }
}

// Keeps the last steps' times; the middle one is typical.
void Pace::take(double seconds) {
  window_[taken_++ % WINDOW] = seconds;
  if (taken_ < WINDOW) return;
  double sorted[WINDOW];
  std::copy(window_, window_ + WINDOW, sorted);
  std::nth_element(sorted, sorted + WINDOW / 2, sorted + WINDOW);
  step_s_[index(now_)] = sorted[WINDOW / 2];
}

void Pace::ran_fast(double seconds) {
  lost_s_ += seconds - plain_s();
  const bool full = taken_ >= WINDOW && taken_ % WINDOW == 0;
  if (seconds > JUMP * plain_s() || (full && step_s_[index(fast_)] > MARGIN * plain_s())) {
    fall_back();
  } else if (steps_ == WINDOW) {
    failures_ = 0;
  } else if (steps_ == EVERY) {
    begin(Way::Plain);
  }
}

// Back to the other way as soon as the plain time is known again and the rest is over.
void Pace::ran_plain() {
  if (taken_ < WINDOW || (resting_ && rest_s_ > 0)) return;
  if (resting_) why_ = "measured";
  resting_ = false;
  lost_s_ = 0;
  begin(fast_);
}

void Pace::fall_back() {
  const char *const kind = fast_ == Way::Recorded ? "recorded" : "cooperative";
  const double grown = plain_s() * WINDOW * (1 << std::min(failures_, 20));
  rest_s_ = std::min(std::max(std::min(grown, LONGEST_S), lost_s_ / LOSS), ENOUGH_S);
  why_ = std::string(kind) + " steps became slower";
  resting_ = true;
  if (++failures_ == TOLD && !noted_) {
    noted_ = true;
    fprintf(stderr, "note: %s steps became slower than plain ones, as where other processes run: "
            "plain ones meanwhile\n", kind);
  }
  begin(Way::Plain);
}

std::string Pace::json() const {
  Record refused;
  for (const Way way : {Way::Recorded, Way::Cooperative})
    if (!refused_[index(way)].empty()) refused.add(name_of(way), refused_[index(way)]);
  return Record()
      .add("chosen", name_of(resting_ ? Way::Plain : fast_))
      .add("why", why_)
      .add("plain_us", 1e6 * step_s_[index(Way::Plain)])
      .add("recorded_us", 1e6 * step_s_[index(Way::Recorded)])
      .add("cooperative_us", 1e6 * step_s_[index(Way::Cooperative)])
      .raw("refused", refused.text())
      .text();
}

}  // namespace pocket
