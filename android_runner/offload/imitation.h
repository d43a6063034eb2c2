// A flash that is not at hand: one queue of reads, each batch done when the model says. What is read
// in truth, from the page cache, must be sooner.
#pragma once
#include "offload/flash_model.h"

namespace pocket {

// Times are seconds of a steady clock. It sleeps nowhere: who uses it does.
class Imitation {
 public:
  explicit Imitation(FlashModel flash) : flash_(std::move(flash)) {}

  const FlashModel &flash() const { return flash_; }
  void become(const FlashModel &flash) { flash_ = flash; }  // for batches from here on
  // A batch that takes `seconds` of the flash is given now: when it is done, in the queue's time.
  double submit(double now, double seconds);
  // How long is left until it is.
  double left(double now, double due) const { return due + slip_ - now; }
  // A batch is done in truth. What it is late by is caught up by those after it, up to LEEWAY_S; the
  // rest is late for good.
  void finish(double now, double due);
  double busy_s() const { return busy_s_; }
  double late_s() const { return late_s_; }
  double late_share() const { return busy_s_ > 0 ? late_s_ / busy_s_ : 0; }

  static constexpr double LEEWAY_S = 2e-3;

 private:
  FlashModel flash_;
  double free_ = 0;  // when the queue has nothing to do, in its time
  double slip_ = 0;  // by which its time lies behind the clock
  double debt_ = 0;  // by which the last batch was late: the next one begins so much earlier
  double late_s_ = 0, busy_s_ = 0;
};

}  // namespace pocket
