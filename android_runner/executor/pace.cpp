#include "executor/pace.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/os.h"
#include "executor/recorder.h"

namespace pocket {
namespace {

constexpr double WAITED_S = 20e-6;  // a wait this long was one: its end is when the work ended
constexpr double STEP = 4;          // by which one measurement corrects a time at most

double items_of(const BoundDispatch &dispatch) {
  return static_cast<double>(dispatch.global[0]) * static_cast<double>(dispatch.global[1]) *
         static_cast<double>(dispatch.global[2]);
}

}  // namespace

Piece piece_of(const BoundDispatch &dispatch, size_t index, size_t count) {
  Piece piece{};
  std::copy(dispatch.global, dispatch.global + 3, piece.global);
  if (count == 1) return piece;
  const size_t axis = *dispatch.variant->cut, local = dispatch.local[axis];
  const size_t groups = dispatch.global[axis] / local;
  const size_t begin = groups * index / count, end = groups * (index + 1) / count;
  piece.offset[axis] = begin * local;
  piece.global[axis] = (end - begin) * local;
  return piece;
}

void Pace::expect(size_t program, double seconds, double items) {
  Rate &rate = rates_[program];
  if (!rate.measured && items > 0) rate.s = std::max(rate.s, seconds / items);
}

// What nobody has predicted fills a budget: so it is measured alone.
double Pace::seconds(const Portion &portion) const {
  const double rate = rates_[portion.dispatch->variant->program].s;
  return rate > 0 ? rate * items_of(*portion.dispatch) * portion.share : budget_s_;
}

bool Pace::allows(const Portions &portions, const Portion &another) const {
  if (budget_s_ <= 0) return true;
  return seconds(another) + seconds(portions.data(), portions.size()) <= budget_s_;
}

size_t Pace::pieces(const BoundDispatch &dispatch) const {
  const Variant &variant = *dispatch.variant;
  if (budget_s_ <= 0 || !variant.cut) return 1;
  const double wanted = std::ceil(rates_[variant.program].s * items_of(dispatch) / budget_s_);
  const size_t groups = dispatch.global[*variant.cut] / dispatch.local[*variant.cut];
  return static_cast<size_t>(std::clamp(wanted, 1.0, static_cast<double>(groups)));
}

cl::Int Pace::launch(cl::Queue queue, const BoundDispatch &dispatch, Profile *profile) {
  const size_t count = pieces(dispatch);
  for (size_t i = 0; i < count; ++i) {
    const Portion portion{&dispatch, 1.0 / static_cast<double>(count)};
    make_room(queue, &portion, 1);
    cl::Event event = nullptr;
    const cl::Int code =
        pocket::launch(queue, dispatch, piece_of(dispatch, i, count), profile ? &event : nullptr);
    if (code != 0 && i == 0) return code;
    cl::check(code, "clEnqueueNDRangeKernel");
    gather(&portion, 1);
    if (profile) profile->add(*dispatch.step, dispatch.program->kernel, event);
  }
  return 0;
}

void Pace::admit(cl::Queue queue, const Portions &portions) {
  make_room(queue, portions.data(), portions.size());
  gather(portions.data(), portions.size());
}

double Pace::seconds(const Portion *portions, size_t count) const {
  double s = 0;
  for (size_t i = 0; i < count; ++i) s += seconds(portions[i]);
  return s;
}

void Pace::make_room(cl::Queue queue, const Portion *portions, size_t count) {
  if (budget_s_ <= 0) return;
  if (queue != queue_ || gathering_.predicted_s + seconds(portions, count) > budget_s_) flush();
  queue_ = queue;
  if (gathering_.programs.empty()) gathering_.began_s = now();
}

void Pace::gather(const Portion *portions, size_t count) {
  if (budget_s_ <= 0) return;
  gathering_.predicted_s += seconds(portions, count);
  for (size_t i = 0; i < count; ++i) note(portions[i]);
}

void Pace::note(const Portion &portion) {
  const size_t program = portion.dispatch->variant->program;
  double &rate = rates_[program].s;
  if (rate == 0) rate = budget_s_ / (items_of(*portion.dispatch) * portion.share);
  std::vector<size_t> &programs = gathering_.programs;
  if (std::find(programs.begin(), programs.end(), program) == programs.end())
    programs.push_back(program);
}

void Pace::flush() {
  if (gathering_.programs.empty()) return;
  settle(std::exchange(flying_[0], {}));  // gone even where it failed
  cl::Event done = nullptr;  // a driver that can't mark it is not waited for
  if (cl::EnqueueMarkerWithWaitList(queue_, 0, nullptr, &done) == 0)
    gathering_.done = cl::Owned<cl::Event>(done);
  cl::check(cl::Flush(queue_), "clFlush");
  flying_[0] = std::move(flying_[1]);
  flying_[1] = std::move(gathering_);
  gathering_ = {};
}

// The time from when it could begin until now is the batch's own where now is when it ended and the
// end of the one before is known. Otherwise it is more, and errs towards smaller pieces.
void Pace::settle(const Batch &batch) {
  const cl::Event event = batch.done.get();
  if (!event) return;
  const double asked_s = now();
  cl::check(cl::WaitForEvents(1, &event), "clWaitForEvents");
  conclude(batch, asked_s);
}

void Pace::conclude(const Batch &batch, double asked_s) {
  const double ended_s = now(), took_s = ended_s - std::max(batch.began_s, done_s_);
  const bool waited = ended_s - asked_s > WAITED_S;
  if (waited || took_s < batch.predicted_s) correct(batch, took_s / batch.predicted_s);
  done_s_ = waited ? ended_s : 0;
}

// Two batches that are under way have one end then, and are corrected as one. Without this, nobody
// would learn of a run that is predicted to fit into a batch, and has ended before the next flush.
void Pace::reached(cl::Queue queue, double asked_s) {
  if (queue != queue_) return;
  Batch first = std::exchange(flying_[0], {}), last = std::exchange(flying_[1], {});
  if (last.programs.empty()) return;
  if (!first.programs.empty()) {
    last.began_s = first.began_s;
    last.predicted_s += first.predicted_s;
    for (const size_t program : first.programs)
      if (std::find(last.programs.begin(), last.programs.end(), program) == last.programs.end())
        last.programs.push_back(program);
  }
  conclude(last, asked_s);
}

void Pace::correct(const Batch &batch, double factor) {
  for (const size_t program : batch.programs) {
    rates_[program].s *= std::clamp(factor, 1 / STEP, STEP);
    rates_[program].measured = true;
  }
}

}  // namespace pocket
