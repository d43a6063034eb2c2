// A run of dispatches on its way to the device, again and again: enqueued one by one, or recorded
// once and replayed, or all in one launch (cooperative.h).
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "executor/pace.h"
#include "executor/profile.h"
#include "opencl/device.h"
#include "plan/plan.h"

namespace pocket {

// A dispatch of a phase with the variant that works here. The kernel object is its own and its
// arguments are never set again: PoCL up to 4.0 reads them when a recording is replayed.
struct BoundDispatch {
  cl::Owned<cl::Kernel> kernel;  // none: a fetch, gather or prefetch, or a wait for the queue
  size_t queue;
  const Variant *variant;
  size_t global[3], local[3];
  const Step *step = nullptr;  // none: a fetch, or a wait
  const Program *program = nullptr;
  std::vector<cl::Memory> args = {};
  std::optional<size_t> fetched = {};  // by a fetch: the buffer that it hands over
  std::optional<size_t> inside = {};   // of a gather or prefetch: where its dispatches are
  const GatherStep *within = nullptr;  // of a gather whose table lies in memory: this one
  cl::Uint dims() const { return static_cast<cl::Uint>(variant->global.size()); }
  void measure(const std::vector<int64_t> &symbols);  // global, for these values
  bool is_gather() const { return inside && step->gather; }
  bool empty() const { return !global[0] || !global[1] || !global[2]; }
};

// Dispatches of one queue that follow each other with nothing between them.
struct Segment {
  cl::Queue queue;
  const BoundDispatch *begin, *end;
};

class Recorder {
 public:
  virtual ~Recorder() = default;
  // The segment once, in its queue's order. A profile, if one is given, learns when each dispatch
  // ran; recordings can't tell.
  virtual void send(Profile *profile) = 0;
  virtual void resize() = 0;  // the launch sizes have changed
  // Whether `send_after` can: the segment and, in front of it in the same launch, dispatches with the
  // arguments that they have now.
  virtual bool joins() const { return false; }
  virtual void send_after(const std::vector<BoundDispatch> &) {}
  virtual void forget() {}  // when nothing runs: what such dispatches were given may be gone
};

// Its code: 0 where the device takes the piece.
cl::Int launch(cl::Queue queue, const BoundDispatch &dispatch, const Piece &piece,
               cl::Event *event = nullptr);

std::unique_ptr<Recorder> enqueue_plainly(const Segment &segment, Pace &pace);

// By what Device::cannot_record has found.
std::unique_ptr<Recorder> record(const Device &device, const Segment &segment, Pace &pace);

}  // namespace pocket
