#include "executor/phase_runner.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/failure.h"
#include "sizes/bounds.h"

namespace pocket {
namespace {

// That a launch of the step can have: the records of its gather's table.
int64_t most_records(const Plan &plan, const Phase &phase, const Step &step) {
  for (const Step &each : phase.steps)
    if (each.gather)
      for (const auto *steps : {&each.gather->dispatches, &each.gather->first})
        for (const Step &inside : *steps)
          if (&inside == &step) return plan.tables[each.gather->table].count;
  return 0;
}

// Work-items at the phase's largest sizes.
double most_items(const Step &step, const Variant &variant, const Box &box) {
  double items = 1;
  for (const Expr &size : variant.global) {
    const std::optional<Bounds> found = bounds(size, box);
    if (!found)
      throw Failure("a size of " + step.name + " can't be computed", "it may be too large",
                    "compile the model again");
    items *= static_cast<double>(found->high);
  }
  return items;
}

// Whether a launch was refused for its kernel and sizes: OUT_OF_RESOURCES,
// INVALID_PROGRAM_EXECUTABLE, and sizes that are invalid (of dimensions, groups, items, all).
bool is_of_variant(cl::Int code) {
  const std::set<cl::Int> codes = {-5, -45, -53, -54, -55, -63};
  return codes.count(code);
}

// A driver that answers, an error too, has not died: what comes next may take long, or fail itself.
struct Done {
  void operator()(Journal *journal) const { journal->done(); }
};

template <class T>
void set_argument(const BoundDispatch &dispatch, size_t index, const T &value) {
  const cl::Int code =
      cl::SetKernelArg(dispatch.kernel.get(), static_cast<cl::Uint>(index), sizeof value, &value);
  if (code != 0)
    throw Failure(
        "argument " + std::to_string(index) + " of " + dispatch.step->name + " is not accepted",
        cl::error_name(code), "compile the model again, or undo the last edit of its .cl file");
}

}  // namespace

PhaseRunner::PhaseRunner(const Plan &plan, Device &device, const Memory &memory, Programs &programs,
                         double budget_s, Gatherer *gatherer)
    : plan_(plan),
      device_(device),
      memory_(memory),
      programs_(programs),
      pace_(budget_s, plan.programs.size()),
      variants_(plan, device, programs),
      phases_(plan.phases.size()),
      gatherer_(gatherer),
      handed_(gatherer ? Handed{gatherer->any_ticket(), gatherer->any_slots()} : Handed{}) {}

void PhaseRunner::load(const std::vector<const Phase *> &phases, bool cooperative) {
  variants_.build_ahead(phases, cooperative);
  for (const Phase *phase : phases) bind(*phase);
}

void PhaseRunner::bind(const Phase &phase) {
  BoundPhase &bound = this->bound(phase);
  bound.phase = &phase;
  for (const Scratch &scratch : phase.scratch) bound.scratch.push_back(memory_.scratch(scratch));
  for (const Step &step : phase.steps) {
    device_.need_queues(step.queue + 1);
    if (step.kind == Step::Dispatch) {
      bound.dispatches.push_back(bind_first(step, bound));
      continue;
    }
    if (step.gather && gatherer_->is_resident(*step.gather)) {
      bind_resident(step, bound);
      continue;
    }
    if (step.prefetch && !gatherer_->reads_ahead(*step.prefetch)) continue;
    bound.dispatches.push_back({{}, step.queue, nullptr, {}, {}});
    if (step.prefetch) bind_inside(step, step.prefetch->dispatches, bound);
    if (step.kind == Step::Fetch) bound.dispatches.back().fetched = step.args[0].index;
    if (step.kind != Step::Gather) continue;
    bind_inside(step, step.gather->dispatches, bound);
    if (step.gather->first.empty()) continue;
    bound.gathered.emplace_back();  // right behind
    for (const Step &first : step.gather->first)
      bound.gathered.back().push_back(bind_first(first, bound));
  }
  const auto waits_for_reads = [](const BoundDispatch &last) {
    return !last.kernel && !last.fetched && !last.inside && last.queue == 0;
  };
  // Reads go through queue 0 in order: a wait for it at the end would only stall the token loop.
  while (!bound.dispatches.empty() && waits_for_reads(bound.dispatches.back()))
    bound.dispatches.pop_back();
  bound.divide(device_, pace_);
}

// Some drivers refuse images that they said to take: then the next variant has its turn.
BoundDispatch PhaseRunner::bind_first(const Step &step, const BoundPhase &bound) {
  for (;;) {
    ChosenVariant chosen = variants_.choose(step);
    const cl::Int code = memory_.make_images(plan_, device_, step, *chosen.variant);
    if (code == 0) return bind_variant(step, std::move(chosen), bound);
    variants_.refuse(*chosen.variant, "it gets no image, " + cl::error_name(code));
  }
}

void PhaseRunner::bind_inside(const Step &step, const std::vector<Step> &dispatches,
                              BoundPhase &bound) {
  bound.dispatches.back().step = &step;
  bound.dispatches.back().inside = bound.gathered.size();
  bound.gathered.emplace_back();
  for (const Step &inside : dispatches)
    bound.gathered.back().push_back(bind_first(inside, bound));
}

// Like any other steps: what fills the ticket, and what is computed by it.
void PhaseRunner::bind_resident(const Step &step, BoundPhase &bound) {
  hand_over(*step.gather);
  bound.taken += ResidentGathers::taken(plan_, *step.gather);
  for (const std::vector<Step> *steps : {&step.gather->choose, &step.gather->dispatches})
    for (const Step &each : *steps) {
      bound.dispatches.push_back(bind_first(each, bound));
      bound.dispatches.back().within = step.gather.get();
    }
}

// What its dispatches are given.
void PhaseRunner::hand_over(const GatherStep &gather) {
  const ResidentGathers &resident = gatherer_->resident();
  handed_ = {resident.ticket(plan_, gather), gatherer_->slots(gather), resident.rule(gather)};
}

BoundDispatch PhaseRunner::bind_variant(const Step &step, ChosenVariant chosen,
                                        const BoundPhase &bound) {
  BoundDispatch dispatch{
      std::move(chosen.kernel), step.queue, chosen.variant, {1, 1, 1}, {1, 1, 1}};
  dispatch.step = &step;
  dispatch.program = &plan_.programs[chosen.variant->program];
  std::copy(chosen.variant->local.begin(), chosen.variant->local.end(), dispatch.local);
  set_arguments(bound, dispatch);
  Box box = bound.phase->box;
  box.push_back({0, most_records(plan_, *bound.phase, step)});  // the symbol of grids inside of gathers
  pace_.expect(chosen.variant->program, 1e-6 * static_cast<double>(step.microseconds),
               most_items(step, *chosen.variant, box));
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
    case Argument::Ticket:
      return handed_.ticket;
    case Argument::Slots:
      return handed_.slots;
    case Argument::Rule:
      return handed_.rule;
    default:
      return memory_.buffer(argument.index);
  }
}

void PhaseRunner::set_arguments(const BoundPhase &bound, BoundDispatch &dispatch) const {
  const Step &step = *dispatch.step;
  dispatch.args.resize(step.args.size());
  for (size_t i = 0; i < step.args.size(); ++i) {
    const cl::Memory memory = memory_of(step.args[i], bound);
    if (dispatch.args[i] == memory) continue;
    dispatch.args[i] = memory;
    set_argument(dispatch, i, memory);
  }
  size_t next = step.args.size();
  for (const size_t number : dispatch.variant->images) {
    const Argument &argument = step.args[number];
    const Place place = place_of(plan_, *bound.phase, argument);
    set_argument(dispatch, next++, memory_.image(plan_, argument));
    set_argument(dispatch, next++, static_cast<cl::Int>(place.offset / TEXEL));
  }
}

void PhaseRunner::run(BoundPhase &phase, const std::vector<int64_t> &symbols, const Take &take,
                      bool chooses) try {
  if (gatherer_) gatherer_->begin_run(phase.gathers(), phase.taken);
  send(phase, symbols, profile_ || halves_ ? LaunchMode::Plain : phase.modes.next(), take,
       chooses);
} catch (...) {
  if (gatherer_) gatherer_->abandon();
  throw;
}

void PhaseRunner::send(BoundPhase &phase, const std::vector<int64_t> &symbols, LaunchMode mode,
                       const Take &take, bool chooses) {
  early_ = nullptr;
  phase.resize(symbols);
  const bool singly = (!phase.ran || halves_) && mode == LaunchMode::Plain && !profile_;
  if (singly) send_carefully(phase, symbols, take);
  else send_segments(phase, symbols, mode, take, chooses);
  pace_.flush();
}

void PhaseRunner::send_segments(BoundPhase &phase, const std::vector<int64_t> &symbols,
                                LaunchMode mode, const Take &take, bool chooses) {
  if (profile_) profile_->begin(phase.phase->name);
  const size_t end = chooses ? phase.segments.size() : phase.choosing(plan_);
  for (size_t i = 0; i < end; ++i) {
    const BoundSegment &each = phase.segments[i];
    if (!each.host) {
      each.recorder(mode)->send(profile_.get());
    } else if (each.host->is_gather()) {
      const bool alone = i + 1 == end || gatherer_->helps(*each.host->step->gather);
      Recorder *const behind = alone ? nullptr : phase.joined(i, mode);
      do_gather(phase, *each.host, symbols, nullptr, behind);
      i += behind != nullptr;
    } else if (each.host->inside) {
      early_ = each.host;
    } else {
      do_host_step(*each.host, take);
    }
  }
}

// The first time: a program's first launch ends before the next is sent, so that the journal of a
// driver that dies names it.
void PhaseRunner::send_carefully(BoundPhase &phase, const std::vector<int64_t> &symbols,
                                 const Take &take) {
  Seen seen;
  for (BoundDispatch &dispatch : phase.dispatches) {
    if (dispatch.is_gather()) do_gather(phase, dispatch, symbols, &seen, nullptr);
    else if (dispatch.inside) early_ = &dispatch;
    else if (!dispatch.kernel) do_host_step(dispatch, take);
    else launch_carefully(phase, dispatch, symbols, seen);
    if (halves_ && dispatch.kernel && !dispatch.empty())
      count_halves(phase, *dispatch.step, symbols);
  }
  phase.ran = true;
}

void PhaseRunner::launch_carefully(BoundPhase &phase, BoundDispatch &dispatch,
                                   const std::vector<int64_t> &symbols, Seen &seen) {
  const bool first = !dispatch.empty() && seen.insert(dispatch.program).second;
  if (first)
    programs_.risk(Journal::Launch, dispatch.variant->program,
                   "launching " + dispatch.step->name +
                       " for the first time: " + programs_.name(dispatch.variant->program));
  const std::unique_ptr<Journal, Done> noted(first ? &programs_.journal() : nullptr);
  launch_or_replace(phase, dispatch, symbols);
  if (first) cl::check(cl::Finish(device_.queue(dispatch.queue)), "clFinish");
}

void PhaseRunner::forget_slots() {
  handed_.slots = gatherer_->any_slots();
  for (BoundPhase &bound : phases_) {
    if (!bound.phase) continue;
    if (fits_residence(bound)) forget_slots(bound);
    else bind_anew(bound);
  }
}

// An address alone doesn't tell a buffer: another one may have it now.
void PhaseRunner::forget_slots(BoundPhase &bound) {
  for (std::vector<BoundDispatch> &inside : bound.gathered)
    for (BoundDispatch &dispatch : inside)
      for (size_t i = 0; i < dispatch.args.size(); ++i)
        if (dispatch.step->args[i].kind == Argument::Slots) dispatch.args[i] = nullptr;
  for (const BoundSegment &segment : bound.segments)
    for (const auto &recorder : segment.recorders)
      if (recorder) recorder->forget();
}

// Whether the gathers that are ordinary dispatches are those whose tables lie in memory, and the
// prefetches that are there those that read.
bool PhaseRunner::fits_residence(const BoundPhase &bound) const {
  return std::all_of(bound.phase->steps.begin(), bound.phase->steps.end(), [&](const Step &step) {
    const auto is_its = [&](const BoundDispatch &each) { return each.within == step.gather.get(); };
    if (step.prefetch)
      return (gatherer_->reads_ahead(*step.prefetch) > 0) ==
             std::any_of(bound.dispatches.begin(), bound.dispatches.end(),
                         [&](const BoundDispatch &each) { return each.step == &step; });
    return !step.gather ||
           gatherer_->is_resident(*step.gather) ==
               std::any_of(bound.dispatches.begin(), bound.dispatches.end(), is_its);
  });
}

// Launched plainly until somebody chooses. What was found out of launch modes stays true, times don't.
void PhaseRunner::bind_anew(BoundPhase &bound) {
  BoundPhase fresh;
  fresh.modes = bound.modes;
  fresh.modes.forget("its weights lie elsewhere than at the start");
  std::copy(bound.agreed, bound.agreed + LAUNCH_MODES, fresh.agreed);
  fresh.cooperation = bound.cooperation;
  fresh.anew = true;
  const Phase &phase = *bound.phase;
  bound = std::move(fresh);
  bind(phase);
}

// Of scratch or a buffer, in this run.
int64_t PhaseRunner::elements(const Argument &argument, const BoundPhase &phase,
                              const std::vector<int64_t> &symbols) const {
  const bool scratch = argument.kind == Argument::Scratch;
  size_t count = 1;
  for (const Expr &size : scratch ? phase.phase->scratch[argument.index].shape
                                  : plan_.buffers[argument.index].shape)
    count *= extent(size, symbols);
  return static_cast<int64_t>(count);
}

// Its dispatches with each ticket and slots; carefully, where it is told what was `seen`.
void PhaseRunner::do_gather(BoundPhase &phase, const BoundDispatch &step,
                            const std::vector<int64_t> &symbols, Seen *seen, Recorder *behind) {
  const std::optional<Argument> &from = step.step->gather->from;
  SelectedBy by = from ? SelectedBy{memory_of(*from, phase), elements(*from, phase, symbols)}
                       : SelectedBy{};
  if (const auto &first = step.step->gather->first_from) by.first = memory_of(*first, phase);
  std::vector<int64_t> values = symbols;
  values.push_back(0);  // the symbol of their grids: records of a launch
  const GatherStep &gather = *step.step->gather;
  const UnitMemory unit = gatherer_->helps(gather) ? unit_memory(gather, phase, symbols)
                                                   : UnitMemory();
  gatherer_->run(*step.step, device_.queue(step.queue), by, unit, [&](const GatheredLaunch &launch) {
    if (launch.last || !launch.ticket)
      do_prefetch(phase, symbols, seen);  // or else it would wait for what follows
    if (!launch.ticket) return;
    handed_.ticket = launch.ticket;
    handed_.slots = launch.slots;
    values.back() = launch.records;
    std::vector<BoundDispatch> &inside = phase.gathered[*step.inside + launch.first];
    for (BoundDispatch &dispatch : inside) {
      set_arguments(phase, dispatch);
      dispatch.measure(values);
      if (!behind || !launch.last) launch_gathered(phase, dispatch, values, seen);
    }
    if (behind && launch.last) behind->send_after(inside);
    do_prefetch(phase, symbols, seen);
  });
  if (!halves_) return;
  for (const BoundDispatch &dispatch : phase.gathered[*step.inside])  // once they are whole
    if (!dispatch.empty()) count_halves(phase, *dispatch.step, values);
}

UnitMemory PhaseRunner::unit_memory(const GatherStep &gather, const BoundPhase &phase,
                                    const std::vector<int64_t> &symbols) const {
  const Unit &unit = *gather.unit;
  const std::vector<Argument> &args = gather.dispatches[0].args;
  const auto numbers = [&](size_t place) -> UnitMemory::Numbers {
    const Argument &argument = args[place];
    const bool scratch = argument.kind == Argument::Scratch;
    const std::string &dtype = scratch ? phase.phase->scratch[argument.index].dtype
                                       : plan_.buffers[argument.index].dtype;
    return {memory_of(argument, phase), static_cast<size_t>(elements(argument, phase, symbols)),
            dtype == "f16"};
  };
  const auto weight = [&](std::optional<size_t> place) {
    return place ? memory_of(args[*place], phase) : nullptr;
  };
  return {numbers(unit.x), unit.given ? numbers(*unit.given) : UnitMemory::Numbers(),
          numbers(unit.part), weight(unit.gate_bias), weight(unit.up_bias)};
}

// Behind what is resident of the gather that it stands in front of: while that reads, the device has
// nothing else to do.
void PhaseRunner::do_prefetch(BoundPhase &phase, const std::vector<int64_t> &symbols, Seen *seen) {
  const BoundDispatch *const step = std::exchange(early_, nullptr);
  if (!step) return;
  for (BoundDispatch &dispatch : phase.gathered[*step->inside]) {
    dispatch.measure(symbols);
    launch_gathered(phase, dispatch, symbols, seen);
  }
  const Argument &from = step->step->prefetch->from;
  gatherer_->prefetch(*step->step, device_.queue(step->queue), {memory_of(from, phase), 0});
}

void PhaseRunner::launch_gathered(BoundPhase &phase, BoundDispatch &dispatch,
                                  const std::vector<int64_t> &symbols, Seen *seen) {
  if (seen) return launch_carefully(phase, dispatch, symbols, *seen);
  if (dispatch.empty()) return;
  cl::check(pace_.launch(device_.queue(dispatch.queue), dispatch, profile_.get()),
            "clEnqueueNDRangeKernel");
}

// Some drivers refuse sizes that they said to take: then the next variant has its turn.
void PhaseRunner::launch_or_replace(BoundPhase &phase, BoundDispatch &dispatch,
                                    const std::vector<int64_t> &symbols) {
  while (!dispatch.empty()) {
    const cl::Int code = pace_.launch(device_.queue(dispatch.queue), dispatch);
    const bool last = dispatch.variant == &dispatch.step->variants.back();
    if (last || !is_of_variant(code)) return cl::check(code, "clEnqueueNDRangeKernel");
    variants_.refuse(*dispatch.variant, cl::error_name(code));
    choose_anew(phase, dispatch, symbols);
  }
}

void PhaseRunner::count_halves(const BoundPhase &phase, const Step &step,
                               const std::vector<int64_t> &symbols) {
  device_.wait();
  for (const size_t written : step.writes) {
    const Argument &argument = step.args[written];
    if (argument.kind == Argument::Symbols) continue;
    const bool scratch = argument.kind == Argument::Scratch;
    const Scratch *own = scratch ? &phase.phase->scratch[argument.index] : nullptr;
    const Buffer *shared = scratch ? nullptr : &plan_.buffers[argument.index];
    if ((own ? own->dtype : shared->dtype) != "f16") continue;
    std::vector<uint16_t> values(static_cast<size_t>(elements(argument, phase, symbols)));
    if (!values.empty())
      device_.read(memory_of(argument, phase), 0, values.data(), values.size() * sizeof(uint16_t));
    halves_->add(own ? own->name : shared->name, values);
  }
}

void PhaseRunner::choose_anew(BoundPhase &phase, BoundDispatch &dispatch,
                              const std::vector<int64_t> &symbols) {
  const Step &step = *dispatch.step;
  const GatherStep *const within = dispatch.within;
  if (within) hand_over(*within);
  dispatch = bind_first(step, phase);
  dispatch.within = within;
  dispatch.measure(symbols);
  phase.measure_anew(symbols);
}

// Reads go through the first queue, in its order; what another one computes is waited for.
void PhaseRunner::do_host_step(const BoundDispatch &step, const Take &take) const {
  if (!step.fetched || step.queue != 0)
    cl::check(cl::Finish(device_.queue(step.queue)), "clFinish");
  if (step.fetched && take) take(*step.fetched);
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

void PhaseRunner::start_halves() { halves_ = std::make_unique<Halves>(); }

std::string PhaseRunner::take_halves() {
  if (!halves_) throw Failure("no halves were counted", "halves alone starts it", "halves");
  const std::unique_ptr<Halves> taken = std::move(halves_);
  return taken->json();
}

}  // namespace pocket
