#include "executor/mode_switch.h"

#include <algorithm>
#include <cstdio>

#include "base/json.h"

namespace pocket {

const char *name_of(LaunchMode mode) {
  const char *const names[LAUNCH_MODES] = {"plain", "command-buffer", "cooperative"};
  return names[index_of(mode)];
}

void ModeSwitch::choose(LaunchMode mode, const std::string &why) {
  now_ = mode;
  fast_ = mode;
  why_ = why;
}

// Those under way keep their places: their times are still to be reported.
void ModeSwitch::forget(const std::string &why) {
  choose(LaunchMode::Plain, why);
  begin(LaunchMode::Plain);
  watched_ = resting_ = false;
  failures_ = 0;
  rest_s_ = lost_s_ = 0;
  std::fill(step_s_, step_s_ + LAUNCH_MODES, 0.0);
}

void ModeSwitch::begin(LaunchMode mode) {
  now_ = mode;
  steps_ = 0;
  taken_ = 0;
}

void ModeSwitch::watch(LaunchMode fast, bool tried_whole) {
  watched_ = true;
  resting_ = tried_whole && now_ == LaunchMode::Plain;
  fast_ = fast;
  rest_s_ = resting_ ? LONGEST_S : 0;
  if (!tried_whole) begin(LaunchMode::Plain);
}

LaunchMode ModeSwitch::next() {
  if (watched_ && count_ < UNDER_WAY) sent_[(first_ + count_++) % UNDER_WAY] = now_;
  return now_;
}

void ModeSwitch::settled() { count_ = 0; }

void ModeSwitch::skip() {
  if (!count_) return;
  first_ = (first_ + 1) % UNDER_WAY;
  --count_;
}

// A step of the mode that was left is only counted as lost: its slowness has had its effect.
void ModeSwitch::took(double seconds) {
  if (!count_) return;
  const LaunchMode mode = sent_[first_];
  skip();
  if (mode != now_) {
    if (resting_ && mode == fast_)
      rest_s_ = std::min(rest_s_ + std::max(0.0, seconds - plain_s()) / LOSS, ENOUGH_S);
  } else if (mode == LaunchMode::Plain) {
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
void ModeSwitch::take(double seconds) {
  window_[taken_++ % WINDOW] = seconds;
  if (taken_ < WINDOW) return;
  double sorted[WINDOW];
  std::copy(window_, window_ + WINDOW, sorted);
  std::nth_element(sorted, sorted + WINDOW / 2, sorted + WINDOW);
  step_s_[index_of(now_)] = sorted[WINDOW / 2];
}

void ModeSwitch::ran_fast(double seconds) {
  lost_s_ += seconds - plain_s();
  const bool full = taken_ >= WINDOW && taken_ % WINDOW == 0;
  if (seconds > JUMP * plain_s() || (full && step_s_[index_of(fast_)] > MARGIN * plain_s())) {
    fall_back();
  } else if (steps_ == WINDOW) {
    failures_ = 0;
  } else if (steps_ == EVERY) {
    begin(LaunchMode::Plain);
  }
}

// Back to the other mode as soon as the plain time is known again and the rest is over.
void ModeSwitch::ran_plain() {
  if (taken_ < WINDOW || (resting_ && rest_s_ > 0)) return;
  if (resting_) why_ = "measured";
  resting_ = false;
  lost_s_ = 0;
  begin(fast_);
}

void ModeSwitch::fall_back() {
  const char *const kind = fast_ == LaunchMode::Recorded ? "recorded" : "cooperative";
  const double grown = plain_s() * WINDOW * (1 << std::min(failures_, 20));
  rest_s_ = std::min(std::max(std::min(grown, LONGEST_S), lost_s_ / LOSS), ENOUGH_S);
  why_ = std::string(kind) + " steps became slower";
  resting_ = true;
  if (++failures_ == NOTED && !noted_) {
    noted_ = true;
    fprintf(stderr,
            "note: %s steps became slower than plain ones, as where other processes run: "
            "plain ones meanwhile\n",
            kind);
  }
  begin(LaunchMode::Plain);
}

std::string ModeSwitch::json() const {
  Record refused;
  for (const LaunchMode mode : {LaunchMode::Recorded, LaunchMode::Cooperative})
    if (!refused_[index_of(mode)].empty()) refused.add(name_of(mode), refused_[index_of(mode)]);
  return Record()
      .add("chosen", name_of(resting_ ? LaunchMode::Plain : fast_))
      .add("why", why_)
      .add("plain_us", 1e6 * step_s_[index_of(LaunchMode::Plain)])
      .add("recorded_us", 1e6 * step_s_[index_of(LaunchMode::Recorded)])
      .add("cooperative_us", 1e6 * step_s_[index_of(LaunchMode::Cooperative)])
      .raw("refused", refused.text())
      .text();
}

}  // namespace pocket
