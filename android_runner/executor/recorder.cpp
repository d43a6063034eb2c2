#include "executor/recorder.h"

#include "executor/recording.h"

namespace pocket {
namespace {

class Plain : public Recorder {
 public:
  Plain(const Segment &segment, Pace &pace) : segment_(segment), pace_(pace) {}

  void send(Profile *profile) override {
    for (const BoundDispatch *dispatch = segment_.begin; dispatch != segment_.end; ++dispatch)
      if (!dispatch->empty())
        cl::check(pace_.launch(segment_.queue, *dispatch, profile), "clEnqueueNDRangeKernel");
  }

  void resize() override {}

 private:
  const Segment segment_;
  Pace &pace_;
};

// Two tapes in turn, because a second step is sent while the first one runs and a recording that is
// pending may not be sent again (error -59). The other way, CL_COMMAND_BUFFER_SIMULTANEOUS_USE, not
// every driver has.
//
// A tape is one recording, or several where that is more than a driver records, or more than the
// device is to be given at once.
class Recorded : public Recorder {
 public:
  Recorded(const Device &device, const Segment &segment, Pace &pace)
      : device_(device), segment_(segment), pace_(pace) {}

  ~Recorded() override {
    for (Tape &tape : tapes_)
      if (const cl::Event event = tape.done.get()) cl::WaitForEvents(1, &event);
  }

  void send(Profile *) override {
    Tape &tape = tapes_[turn_];
    turn_ = 1 - turn_;
    settle(tape);
    if (tape.stale) record(tape);
    for (const Part &part : tape.parts) {
      pace_.admit(segment_.queue, part.portions);
      cl::Event event = nullptr;
      part.recording->send(&part == &tape.parts.back() ? &event : nullptr);
      tape.done = cl::Owned<cl::Event>(event);
    }
  }

  void resize() override {
    for (Tape &tape : tapes_) tape.stale = true;
  }

 private:
  struct Part {
    std::unique_ptr<Recording> recording;
    std::vector<Portion> portions;
  };

  struct Tape {
    std::vector<Part> parts;    // none: there is nothing to launch
    cl::Owned<cl::Event> done;  // of the last replay
    bool stale = true;
  };

  static void settle(Tape &tape) {
    const cl::Event event = tape.done.get();
    if (event) cl::check(cl::WaitForEvents(1, &event), "clWaitForEvents");
    tape.done = {};
  }

  void record(Tape &tape) const {
    tape.parts.clear();
    tape.stale = false;
    for (const BoundDispatch *dispatch = segment_.begin; dispatch != segment_.end; ++dispatch) {
      const size_t count = dispatch->empty() ? 0 : pace_.pieces(*dispatch);
      for (size_t i = 0; i < count; ++i)
        add(tape, {dispatch, 1.0 / static_cast<double>(count)}, piece_of(*dispatch, i, count));
    }
    if (!tape.parts.empty()) tape.parts.back().recording->end();
  }

  void add(Tape &tape, const Portion &portion, const Piece &piece) const {
    std::vector<Part> &parts = tape.parts;
    if (parts.empty() || parts.back().portions.size() == device_.most_recorded() ||
        !pace_.allows(parts.back().portions, portion)) {
      if (!parts.empty()) parts.back().recording->end();
      parts.push_back({new_recording(device_, segment_.queue), {}});
    }
    parts.back().recording->add(*portion.dispatch, piece);
    parts.back().portions.push_back(portion);
  }

  const Device &device_;
  const Segment segment_;
  Pace &pace_;
  Tape tapes_[2];
  size_t turn_ = 0;
};

}  // namespace

void BoundDispatch::measure(const std::vector<int64_t> &symbols) {
  for (size_t axis = 0; axis < variant->global.size(); ++axis)
    global[axis] = extent(variant->global[axis], symbols);
}

cl::Int launch(cl::Queue queue, const BoundDispatch &dispatch, const Piece &piece,
               cl::Event *event) {
  return cl::EnqueueNDRangeKernel(queue, dispatch.kernel.get(), dispatch.dims(), piece.offsets(),
                                  piece.global, dispatch.local, 0, nullptr, event);
}

std::unique_ptr<Recorder> enqueue_plainly(const Segment &segment, Pace &pace) {
  return std::make_unique<Plain>(segment, pace);
}

std::unique_ptr<Recorder> record(const Device &device, const Segment &segment, Pace &pace) {
  return std::make_unique<Recorded>(device, segment, pace);
}

}  // namespace pocket
