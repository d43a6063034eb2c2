#include "session/decode_steps.h"

#include <utility>

#include "base/failure.h"
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

// A phase that gathers waits for the step before, and for flash: sent ahead it would keep that
// step's id back, and read in vain where this was the last one.
void DecodeSteps::send_up_to(int64_t count) {
  for (; sent_ < count && sent_ < taken_ + AHEAD; ++sent_) {
    const Phase &phase = phases_.choosing(1, past_ + sent_);
    if (sent_ > taken_ && executor_.gathers(phase)) return;
    Pending &pending = pending_[sent_ % AHEAD];
    pending.position = past_ + sent_;
    pending.phase = &phase;
    executor_.advance(phases_.roles().past, pending.position);
    send(pending);
  }
}

// Two captures: more of them would be allocated for every token. Where records can't be read, steps
// before may be under way.
void DecodeSteps::send(Pending &pending) try {
  executor_.run(*pending.phase, [this, &pending](size_t buffer) { receive(buffer, pending); });
} catch (const DeviceFailure &) {
  throw;
} catch (const Failure &) {
  settle();
  throw;
}

void DecodeSteps::receive(size_t buffer, Pending &pending) {
  if (buffer != phases_.roles().ids) return;
  const size_t size = sizeof pending.id;
  pending.arrived = executor_.read_later(buffer, size * (pending.position + 1), &pending.id, size);
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
  if (emitting_s_ < step_s / 2) executor_.took(*pending.phase, step_s);
  else executor_.skip(*pending.phase);
  return pending.id;
}

void DecodeSteps::emitted() { emitting_s_ = now() - arrived_; }

void DecodeSteps::settle() {
  executor_.wait();
  for (Pending &pending : pending_) {
    if (pending.phase) executor_.settled(*pending.phase);
    pending = {};
  }
}

double DecodeSteps::host_s() const { return now() - begun_ - waited_s_; }

}  // namespace pocket
