#include "executor/bound_phase.h"

#include <algorithm>
#include <set>

namespace pocket {
namespace {

void add_symbols(const Expr &size, std::set<size_t> &slots) {
  for (const Token &token : size)
    if (token.op == Token::Symbol) slots.insert(static_cast<size_t>(token.value));
}

// Whether a dispatch writes what is kept of a text.
bool keeps(const Plan &plan, const BoundDispatch &dispatch) {
  const Step &step = *dispatch.step;
  return std::any_of(step.writes.begin(), step.writes.end(), [&](size_t written) {
    const Argument &argument = step.args[written];
    return argument.kind == Argument::Buffer && plan.buffers[argument.index].kind == "state";
  });
}

}  // namespace

void BoundPhase::note_sizes() {
  std::set<size_t> slots;
  sizes.clear();
  for (size_t i = 0; i < dispatches.size(); ++i) {
    BoundDispatch &dispatch = dispatches[i];
    for (size_t axis = 0; dispatch.kernel && axis < dispatch.variant->global.size(); ++axis) {
      const Expr &size = dispatch.variant->global[axis];
      std::set<size_t> of_size;
      add_symbols(size, of_size);
      if (of_size.empty()) dispatch.global[axis] = extent(size, {});
      else sizes.push_back({i, axis, &size});
      slots.insert(of_size.begin(), of_size.end());
    }
  }
  size_symbols.assign(slots.begin(), slots.end());
  sized_for.assign(slots.size(), INT64_MIN);
}

void BoundPhase::divide(const Device &device, Pace &pace) {
  note_sizes();
  const BoundDispatch *at = dispatches.data();
  const BoundDispatch *const end = at + dispatches.size();
  while (at != end) {
    const BoundDispatch *next = at + 1;
    while (at->kernel && next != end && next->kernel && next->queue == at->queue) ++next;
    const Segment segment{device.queue(at->queue), at, at->kernel ? next : at};
    segments.push_back({segment, {}, at->kernel ? nullptr : at});
    if (at->kernel) segments.back().recorders[0] = enqueue_plainly(segment, pace);
    at = next;
  }
}

std::vector<const GatherStep *> BoundPhase::gathers() const {
  std::vector<const GatherStep *> found;
  for (const BoundDispatch &each : dispatches)
    if (each.is_gather()) found.push_back(each.step->gather.get());
  return found;
}

Recorder *BoundPhase::joined(size_t number, LaunchMode mode) const {
  if (number + 1 == segments.size()) return nullptr;
  const BoundSegment &gather = segments[number], &next = segments[number + 1];
  if (next.host || next.segment.queue != gather.segment.queue) return nullptr;
  for (const BoundDispatch &inside : gathered[*gather.host->inside])
    if (inside.variant != &inside.step->variants[0]) return nullptr;  // none that the plan joined
  Recorder *const behind = next.recorder(mode);
  return behind->joins() ? behind : nullptr;
}

size_t BoundPhase::choosing(const Plan &plan) const {
  const auto needed = [&](const BoundSegment &each) {
    if (each.host) return each.host->inside.has_value();
    return std::any_of(each.segment.begin, each.segment.end,
                       [&](const BoundDispatch &dispatch) { return keeps(plan, dispatch); });
  };
  const auto last = std::find_if(segments.rbegin(), segments.rend(), needed);
  return static_cast<size_t>(segments.rend() - last);
}

void BoundPhase::measure_anew(const std::vector<int64_t> &symbols) {
  note_sizes();
  resize(symbols);
}

bool BoundPhase::changed(const std::vector<int64_t> &symbols) {
  bool any = false;
  for (size_t i = 0; i < size_symbols.size(); ++i) {
    const int64_t value = symbols[size_symbols[i]];
    any = any || sized_for[i] != value;
    sized_for[i] = value;
  }
  return any;
}

// Nothing is recorded again where no size changed.
void BoundPhase::resize(const std::vector<int64_t> &symbols) {
  if (!changed(symbols)) return;
  bool resized = false;
  for (const SymbolicSize &each : sizes) {
    const size_t size = extent(*each.size, symbols);
    size_t &current = dispatches[each.dispatch].global[each.axis];
    resized = resized || current != size;
    current = size;
  }
  if (!resized) return;
  for (const BoundSegment &segment : segments)
    for (const auto &recorder : segment.recorders)
      if (recorder) recorder->resize();
}

}  // namespace pocket
