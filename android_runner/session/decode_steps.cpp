#include "session/decode_steps.h"

#include <utility>

#include "base/os.h"

namespace pocket {

void DecodeSteps::begin(int64_t past) {
  past_ = past;
  sent_ = 0;
  taken_ = 0;
  begun_ = now();
  arrived_ = begun_;
  emitting_s_ = 0;
  waited_s_ = 0;
}

void DecodeSteps::send_up_to(int64_t count) {
  for (; sent_ < count && sent_ < taken_ + AHEAD; ++sent_) {
    Pending &pending = pending_[sent_ % AHEAD];
    const int64_t position = past_ + sent_;
    executor_.advance(roles_.past, position);
    executor_.run(roles_.decode);
    pending.arrived = executor_.read_later(roles_.ids, sizeof pending.id * (position + 1),
                                           &pending.id, sizeof pending.id);
  }
}

cl::Int DecodeSteps::take() {
  const Pending &pending = pending_[taken_ % AHEAD];
  ++taken_;
  const double before = now();
  pending.arrived.wait();
  const double previous = std::exchange(arrived_, now());
  const double step_s = arrived_ - previous;
  waited_s_ += arrived_ - before;
  // Where emitting the previous id took long, the device was idle for some of this time.
  if (emitting_s_ < step_s / 2) executor_.took(roles_.decode, step_s);
  else executor_.skip(roles_.decode);
  return pending.id;
}

void DecodeSteps::emitted() { emitting_s_ = now() - arrived_; }

void DecodeSteps::settle() {
  executor_.wait();
  executor_.settled(roles_.decode);
  for (Pending &pending : pending_) pending.arrived = {};
}

double DecodeSteps::host_s() const { return now() - begun_ - waited_s_; }

}  // namespace pocket
