#include "gather/ended.h"

#include <utility>

namespace pocket {

// Flushed: whoever waits must not wait for what the driver still keeps back.
Ended::Ended(cl::Queue queue) {
  cl::Event event = nullptr;
  if (cl::EnqueueMarkerWithWaitList(queue, 0, nullptr, &event) != 0) {
    cl::check(cl::Finish(queue), "clFinish");  // a driver before OpenCL 1.2
    return;
  }
  event_ = std::make_shared<cl::Owned<cl::Event>>(event);
  cl::check(cl::Flush(queue), "clFlush");
}

Ended::Ended(cl::Owned<cl::Event> event)
    : event_(std::make_shared<cl::Owned<cl::Event>>(std::move(event))) {}

Ended Ended::with(const Ended &wave) const {
  Ended both = *this;
  both.wave_ = wave.wave_;
  return both;
}

void Ended::wait() const {
  if (wave_) wave_->wait();
  if (!event_) return;
  const cl::Event event = event_->get();
  cl::check(cl::WaitForEvents(1, &event), "clWaitForEvents");
}

std::optional<cl::Int> Ended::status() const {
  cl::Int status = 0;
  const cl::Int code = cl::GetEventInfo(event_->get(), cl::EVENT_COMMAND_EXECUTION_STATUS,
                                        sizeof status, &status, nullptr);
  return code == 0 ? std::optional(status) : std::nullopt;
}

bool Ended::seen() const {
  return (!wave_ || wave_->done()) && (!event_ || status().value_or(1) <= 0);
}

bool Ended::busy() const {
  return (wave_ && !wave_->done()) || (event_ && status().value_or(0) > 0);
}

}  // namespace pocket
