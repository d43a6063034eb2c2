// Decode steps under way: the device always has the next one to do while the host looks at the last
// one's id.
#pragma once
#include "executor/executor.h"
#include "session/text_phases.h"

namespace pocket {

class DecodeSteps {
 public:
  static constexpr int64_t AHEAD = 2;  // steps that are sent and whose id is not taken yet, at most

  DecodeSteps(Executor &executor, const TextPhases &phases)
      : executor_(executor), phases_(phases) {}

  void begin(int64_t past);        // the step at `past`, whose token is on the device, comes first
  void send_up_to(int64_t count);  // steps since `begin`; the next AHEAD of those taken, at most
  cl::Int take();                  // waits for the earliest step's id
  void emitted();                  // the caller is done with the id that was taken
  void settle();                   // waits for all; nothing is under way afterwards

  int64_t sent() const { return sent_; }
  int64_t taken() const { return taken_; }
  double host_s() const;  // since `begin`: not spent waiting for the device

 private:
  struct Pending {
    const Phase *phase = nullptr;  // that runs
    int64_t position = 0;          // of the token that it feeds
    PendingRead arrived;
    cl::Int id = 0;
  };

  void send(Pending &pending);
  void receive(size_t buffer, Pending &pending);

  Executor &executor_;
  const TextPhases &phases_;
  Pending pending_[AHEAD];
  int64_t past_ = 0, sent_ = 0, taken_ = 0;
  double begun_ = 0, arrived_ = 0, emitting_s_ = 0, waited_s_ = 0;
};

}  // namespace pocket
