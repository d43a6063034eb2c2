// How much of its work a device is given at once, in time: so that whoever else wants the device,
// as the screen does, waits for little.
//
// A launch that takes longer than the budget is enqueued in pieces; what has gathered for a budget
// is flushed; and at most two flushes are unfinished, for a driver takes its next turn between two
// of them, however deep its queue is. The times are the plan's predictions at first. How long a
// flush really took tells those of its programs, for each work-item.
#pragma once
#include <vector>

#include "executor/profile.h"
#include "opencl/cl_api.h"

namespace pocket {

struct BoundDispatch;

// A part of a launch: the offset and the size of what a piece of it does.
struct Piece {
  size_t offset[3], global[3];
  // Whatever begins at the beginning is given none: drivers know that case best.
  const size_t *offsets() const { return offset[0] + offset[1] + offset[2] ? offset : nullptr; }
};
Piece piece_of(const BoundDispatch &dispatch, size_t index, size_t count);

struct Portion {
  const BoundDispatch *dispatch;
  double share;  // of its launch
};
using Portions = std::vector<Portion>;

class Pace {
 public:
  // Without a budget nothing is cut, measured or waited for.
  Pace(double budget_s, size_t programs) : budget_s_(budget_s), rates_(programs) {}

  // What the plan says of a program, for a launch of so many work-items; not after it was measured.
  void expect(size_t program, double seconds, double items);

  // Enqueues a dispatch that is not empty. Its code: 0 where the device takes it.
  cl::Int launch(cl::Queue queue, const BoundDispatch &dispatch, Profile *profile = nullptr);
  void flush();  // what has gathered; at the end of a run
  // The host asked at that time for what lies behind all of a queue's work, and has it now.
  void reached(cl::Queue queue, double asked_s);

  // For what is enqueued in another way: in how many pieces a dispatch is; whether another portion
  // may be given to the device together with some; and that portions are about to be.
  size_t pieces(const BoundDispatch &dispatch) const;
  bool allows(const Portions &portions, const Portion &another) const;
  void admit(cl::Queue queue, const Portions &portions);

 private:
  struct Rate {
    double s = 0;  // of a work-item; 0: not known
    bool measured = false;
  };
  struct Batch {
    cl::Owned<cl::Event> done;
    double began_s = 0, predicted_s = 0;
    std::vector<size_t> programs;  // each once
  };

  double seconds(const Portion &portion) const;
  double seconds(const Portion *portions, size_t count) const;
  // Before portions are enqueued, and behind: what the device refuses counts in no batch.
  void make_room(cl::Queue queue, const Portion *portions, size_t count);
  void gather(const Portion *portions, size_t count);
  void note(const Portion &portion);
  void settle(const Batch &batch);
  void conclude(const Batch &batch, double asked_s);
  void correct(const Batch &batch, double factor);

  const double budget_s_;
  std::vector<Rate> rates_;  // by program
  cl::Queue queue_ = nullptr;
  Batch gathering_, flying_[2];
  double done_s_ = 0;  // when the last batch ended that was waited for
};

}  // namespace pocket
