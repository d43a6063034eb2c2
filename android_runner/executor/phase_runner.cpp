#include "executor/phase_runner.h"

#include <algorithm>
#include <set>

#include "base/failure.h"

namespace pocket {

PhaseRunner::PhaseRunner(const Plan &plan, Device &device, const Memory &memory, Programs &programs,
                         size_t flush_every)
    : plan_(plan),
      device_(device),
      memory_(memory),
      programs_(programs),
      flush_every_(flush_every),
      variants_(plan, device, programs),
      phases_(plan.phases.size()) {}

void PhaseRunner::load(const std::vector<const Phase *> &phases, bool cooperative) {
  variants_.build_ahead(phases, cooperative);
  for (const Phase *phase : phases) bind(*phase);
}

void PhaseRunner::bind(const Phase &phase) {
  BoundPhase &bound = this->bound(phase);
  bound.phase = &phase;
  for (const Scratch &scratch : phase.scratch) bound.scratch.push_back(memory_.scratch(scratch));
  for (const Step &step : phase.steps) {
    if (step.kind == Step::Fetch) continue;  // who wants what it names reads it, when it is wanted
    device_.need_queues(step.queue + 1);
    if (step.kind == Step::Wait) bound.dispatches.push_back({{}, step.queue, nullptr, {}, {}});
    else bound.dispatches.push_back(bind_dispatch(step, bound));
  }
  // Reads go through queue 0 in order: a wait for it at the end would only stall the token loop.
  while (!bound.dispatches.empty() && !bound.dispatches.back().kernel &&
         bound.dispatches.back().queue == 0)
    bound.dispatches.pop_back();
  bound.divide(device_, flush_every_);
}

BoundDispatch PhaseRunner::bind_dispatch(const Step &step, const BoundPhase &bound) {
  ChosenVariant chosen = variants_.choose(step);
  BoundDispatch dispatch{
      std::move(chosen.kernel), step.queue, chosen.variant, {1, 1, 1}, {1, 1, 1}};
  dispatch.step = &step;
  dispatch.program = &plan_.programs[chosen.variant->program];
  std::copy(chosen.variant->local.begin(), chosen.variant->local.end(), dispatch.local);
  set_arguments(bound, dispatch);
  return dispatch;
}

cl::Memory PhaseRunner::memory_of(const Argument &argument, const BoundPhase &bound) const {
  switch (argument.kind) {
    case Argument::Symbols:
      return memory_.symbols();
    case Argument::Scratch:
      return bound.scratch[argument.index].get();
    case Argument::Weight:
      return memory_.weight(argument.index);
    default:
      return memory_.buffer(argument.index);
  }
}

void PhaseRunner::set_arguments(const BoundPhase &bound, BoundDispatch &dispatch) const {
  const Step &step = *dispatch.step;
  for (size_t i = 0; i < step.args.size(); ++i) {
    const cl::Memory memory = memory_of(step.args[i], bound);
    dispatch.args.push_back(memory);
    const cl::Int code =
        cl::SetKernelArg(dispatch.kernel.get(), static_cast<cl::Uint>(i), sizeof memory, &memory);
    if (code != 0)
      throw Failure("argument " + std::to_string(i) + " of " + step.name + " is not accepted",
                    cl::error_name(code),
                    "compile the model again, or undo the last edit of its .cl file");
  }
}

void PhaseRunner::run(BoundPhase &phase, const std::vector<int64_t> &symbols) {
  send(phase, symbols, profile_ ? LaunchMode::Plain : phase.modes.next());
}

void PhaseRunner::send(BoundPhase &phase, const std::vector<int64_t> &symbols, LaunchMode mode) {
  phase.resize(symbols);
  if (!phase.ran && mode == LaunchMode::Plain && !profile_) return send_carefully(phase);
  if (profile_) profile_->begin(phase.phase->name);
  for (const BoundSegment &each : phase.segments) {
    if (each.waits()) cl::check(cl::Finish(each.segment.queue), "clFinish");
    else each.recorder(mode)->send(profile_.get());
  }
}

// The first time: a program's first launch ends before the next is sent, so that the journal of a
// driver that dies names it.
void PhaseRunner::send_carefully(BoundPhase &phase) {
  std::set<const Program *> seen;
  for (const BoundDispatch &dispatch : phase.dispatches) {
    const cl::Queue queue = device_.queue(dispatch.queue);
    const bool first = dispatch.kernel && !dispatch.empty() && seen.insert(dispatch.program).second;
    if (first)
      programs_.risk(Journal::Launch, dispatch.variant->program,
                     "launching " + dispatch.step->name +
                         " for the first time: " + programs_.name(dispatch.variant->program));
    if (dispatch.kernel) enqueue(queue, dispatch);
    if (first || !dispatch.kernel) cl::check(cl::Finish(queue), "clFinish");
  }
  programs_.journal().done();
  phase.ran = true;
}

void PhaseRunner::start_profile() {
  if (!device_.profiling())
    throw Failure("kernel times are not taken", "the runner was started without --profile",
                  "start it with --profile");
  profile_ = std::make_unique<Profile>();
}

std::string PhaseRunner::take_profile() {
  if (!profile_) throw Failure("no profile was started", "profile alone starts one", "profile");
  device_.wait();
  const std::unique_ptr<Profile> taken = std::move(profile_);
  return taken->json();
}

}  // namespace pocket
