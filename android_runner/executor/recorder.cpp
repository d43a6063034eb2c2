#include "executor/recorder.h"

namespace pocket {
namespace {

class Plain : public Recorder {
 public:
  Plain(const Segment &segment, size_t flush_every)
      : segment_(segment), flush_every_(flush_every) {}

  void send(Profile *profile) override {
    size_t waiting = 0;
    for (const BoundDispatch *dispatch = segment_.begin; dispatch != segment_.end; ++dispatch) {
      if (dispatch->empty()) continue;
      cl::Event event = nullptr;
      enqueue(segment_.queue, *dispatch, profile ? &event : nullptr);
      if (profile) profile->add(*dispatch->step, dispatch->program->kernel, event);
      if (flush_every_ && ++waiting % flush_every_ == 0)
        cl::check(cl::Flush(segment_.queue), "clFlush");
    }
  }

  void resize() override {}

 private:
  const Segment segment_;
  const size_t flush_every_;
};

// Two command buffers in turn, because a second step is sent while the first one runs and one that
// is pending may not be sent again (error -59). The other way, CL_COMMAND_BUFFER_SIMULTANEOUS_USE,
// not every driver has.
class CommandBuffers : public Recorder {
 public:
  explicit CommandBuffers(const Segment &segment) : segment_(segment) { resize(); }

  ~CommandBuffers() override {
    for (Tape &tape : tapes_)
      if (const cl::Event event = tape.done.get()) cl::WaitForEvents(1, &event);
  }

  void send(Profile *) override {
    Tape &tape = tapes_[turn_];
    turn_ = 1 - turn_;
    settle(tape);
    if (tape.stale) record(tape);
    if (!tape.buffer) return;
    cl::Event event = nullptr;
    cl::check(cl::EnqueueCommandBufferKHR(0, nullptr, tape.buffer.get(), 0, nullptr, &event),
              "clEnqueueCommandBufferKHR");
    tape.done = cl::Owned<cl::Event>(event);
  }

  void resize() override {
    for (Tape &tape : tapes_) tape.stale = true;
  }

 private:
  struct Tape {
    cl::Owned<cl::CommandBuffer> buffer;  // none: there is nothing to launch
    cl::Owned<cl::Event> done;            // of the last replay
    bool stale = true;
  };

  static void settle(Tape &tape) {
    const cl::Event event = tape.done.get();
    if (event) cl::check(cl::WaitForEvents(1, &event), "clWaitForEvents");
    tape.done = {};
  }

  void record(Tape &tape) const {
    tape.buffer = {};
    tape.stale = false;
    cl::Int code = 0;
    cl::Owned<cl::CommandBuffer> buffer(
        cl::CreateCommandBufferKHR(1, &segment_.queue, nullptr, &code));
    cl::check(code, "clCreateCommandBufferKHR");
    bool any = false;
    for (const BoundDispatch *dispatch = segment_.begin; dispatch != segment_.end; ++dispatch) {
      if (dispatch->empty()) continue;
      cl::check(cl::CommandNDRangeKernelKHR(buffer.get(), nullptr, nullptr, dispatch->kernel.get(),
                                            dispatch->dims(), nullptr, dispatch->global,
                                            dispatch->local, 0, nullptr, nullptr, nullptr),
                "clCommandNDRangeKernelKHR");
      any = true;
    }
    cl::check(cl::FinalizeCommandBufferKHR(buffer.get()), "clFinalizeCommandBufferKHR");
    if (any) tape.buffer = std::move(buffer);
  }

  const Segment segment_;
  Tape tapes_[2];
  size_t turn_ = 0;
};

}  // namespace

cl::Int launch(cl::Queue queue, const BoundDispatch &dispatch, cl::Event *event) {
  return cl::EnqueueNDRangeKernel(queue, dispatch.kernel.get(), dispatch.dims(), nullptr,
                                  dispatch.global, dispatch.local, 0, nullptr, event);
}

void enqueue(cl::Queue queue, const BoundDispatch &dispatch, cl::Event *event) {
  if (!dispatch.empty()) cl::check(launch(queue, dispatch, event), "clEnqueueNDRangeKernel");
}

std::unique_ptr<Recorder> enqueue_plainly(const Segment &segment, size_t flush_every) {
  return std::make_unique<Plain>(segment, flush_every);
}

std::unique_ptr<Recorder> record_in_command_buffers(const Segment &segment) {
  return std::make_unique<CommandBuffers>(segment);
}

}  // namespace pocket
