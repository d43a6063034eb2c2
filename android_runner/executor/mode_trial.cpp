#include "executor/mode_trial.h"

#include <algorithm>
#include <cstdio>

#include "base/failure.h"
#include "base/os.h"
#include "executor/cooperative.h"

namespace pocket {
namespace {

constexpr int ROUNDS = 9;
constexpr double ENOUGH_S = 0.2;  // no further round after this time
constexpr double BATCH_S = 0.01;  // at least one step, at most eight
constexpr double MARGIN = 0.97;   // another mode must save this much: a tie goes to the plain one

const char *adjective(LaunchMode mode) {
  return mode == LaunchMode::Recorded ? "recorded" : "cooperative";
}

using Offers = std::vector<std::pair<LaunchMode, std::string>>;
Offers offers_of(const ModeWishes &wishes) {
  return {{LaunchMode::Recorded, wishes.recorded}, {LaunchMode::Cooperative, wishes.cooperative}};
}

}  // namespace

// The mode that is asked for, for good; else the faster one, watched. Where that is the plain one,
// the machine may have been busy: work-groups that meet get another chance later.
void ModeTrial::settle(const ModeWishes &wishes) {
  std::vector<LaunchMode> others;
  LaunchMode wanted = LaunchMode::Plain;
  for (const auto &[mode, wish] : offers_of(wishes)) {
    if (!offer(mode, wish)) continue;
    others.push_back(mode);
    if (wish == "on") wanted = mode;
  }
  if (others.empty()) return phase_.modes.choose(LaunchMode::Plain, phase_.modes.refusal());
  const LaunchMode faster = compare(others), other = others.back();
  if (wanted != LaunchMode::Plain) return phase_.modes.choose(wanted, "asked for");
  phase_.modes.choose(faster, "measured");
  if (faster == other || other == LaunchMode::Cooperative)
    phase_.modes.watch(other, phase_.gathers().empty());  // trials read nothing
}

void ModeTrial::settle_anew(const ModeWishes &wishes) {
  phase_.anew = false;
  LaunchMode other = LaunchMode::Plain, wanted = LaunchMode::Plain;
  for (const auto &[mode, wish] : offers_of(wishes)) {
    if (!phase_.agreed[index_of(mode)]) continue;
    const std::string reason = obstacle_anew(mode);
    phase_.modes.refused(mode, reason);
    if (!reason.empty()) continue;
    other = mode;
    if (wish == "on") wanted = mode;
  }
  if (wanted != LaunchMode::Plain) return phase_.modes.choose(wanted, "asked for");
  if (other != LaunchMode::Plain) phase_.modes.watch(other, false);
}

// Makes the mode ready, unless there is a reason against it.
bool ModeTrial::offer(LaunchMode mode, const std::string &wish) {
  const std::string reason = wish == "off" ? "asked for" : obstacle(mode);
  phase_.modes.refused(mode, reason);
  phase_.agreed[index_of(mode)] = reason.empty();
  if (reason.empty()) return true;
  for (BoundSegment &each : phase_.segments) each.recorders[index_of(mode)] = nullptr;
  if (wish == "on")
    fprintf(stderr, "note: the steps of %s are not %s: %s\n", phase_.phase->name.c_str(),
            adjective(mode), reason.c_str());
  return false;
}

// As the journal of a driver that dies has it.
std::string ModeTrial::trial_of(LaunchMode mode) const {
  return "trying " + std::string(adjective(mode)) + " steps of " + phase_.phase->name;
}

// Why the phase can't be launched in this mode; empty when it can.
std::string ModeTrial::obstacle(LaunchMode mode) try {
  const std::string lack = missing(mode);
  if (!lack.empty()) return lack;
  const std::string trial = trial_of(mode);
  const std::string crash = programs_.crash_of(trial);
  if (!crash.empty()) return crash;
  // So that no kernel of it can be to blame.
  if (!phase_.ran) steps_.run(phase_, LaunchMode::Plain, 1);
  programs_.risk(trial);
  make_recorders(mode);
  programs_.risk(trial);  // again: there was a program to get
  const bool same = agree(mode);
  programs_.journal().done();
  return same ? "" : adjective(mode) + std::string(" steps compute something else");
} catch (const DeviceFailure &failure) {
  programs_.journal().done();
  return failure.what() + (", " + failure.because);
}

std::string ModeTrial::obstacle_anew(LaunchMode mode) try {
  const std::string lack = missing(mode);
  if (!lack.empty()) return lack;
  programs_.risk(trial_of(mode));
  make_recorders(mode);
  programs_.journal().done();
  return "";
} catch (const DeviceFailure &failure) {
  programs_.journal().done();
  return failure.what() + (", " + failure.because);
}

// What the mode needs and is not there, as far as can be said without trying.
std::string ModeTrial::missing(LaunchMode mode) const {
  return mode == LaunchMode::Recorded ? device_.cannot_record() : no_cooperation();
}

const File &ModeTrial::file_of(const BoundDispatch &dispatch) const {
  return plan_.files[dispatch.program->file];
}

std::string ModeTrial::no_cooperation() const {
  if (!phase_.phase->cooperative) return "the plan has no program for it";
  if (plan_.edited) return "plan.json was edited";
  if (device_.profiling()) return "kernel times are taken";
  for (const auto &inside : phase_.gathered)
    for (const BoundDispatch &dispatch : inside)
      if (const File &file = file_of(dispatch); file.edited) return file.path + " was edited";
  for (const BoundDispatch &dispatch : phase_.dispatches) {
    if (!dispatch.kernel) continue;
    if (const File &file = file_of(dispatch); file.edited) return file.path + " was edited";
    if (dispatch.variant != &dispatch.step->variants[0])
      return dispatch.step->name + " runs as a variant";
    if (dispatch.queue != 0) return dispatch.step->name + " has a queue of its own";
  }
  return cannot_cooperate(device_.facts());
}

void ModeTrial::make_recorders(LaunchMode mode) {
  const bool together = mode == LaunchMode::Cooperative;
  if (together) need_cooperation();
  for (BoundSegment &each : phase_.segments)
    if (!each.host)
      each.recorders[index_of(mode)] = together ? phase_.cooperation->recorder(each.segment)
                                                : record(device_, each.segment, pace_);
}

// The one that there is knows addresses of memory that may be gone.
void ModeTrial::need_cooperation() {
  if (phase_.cooperation) return phase_.cooperation->forget();
  const Programs::Build &steps = programs_.get(*phase_.phase->cooperative);
  if (!steps.program)
    throw DeviceFailure("the step kernel does not build", steps.log.substr(0, 400), "");
  const auto made = std::make_shared<Cooperation>(device_, steps.program.get());
  if (!made->side_by_side() && !made->side_by_side())
    throw DeviceFailure("work-groups do not run side by side", "some waited in vain", "");
  phase_.cooperation = made;
}

// Whether both modes compute the same; it also warms them up. A driver that does not keep the
// arguments of a recorded dispatch is found out here.
bool ModeTrial::agree(LaunchMode mode) {
  const bool busy = steps_.run(phase_, mode, 1) > ENOUGH_S;  // the machine has other things to do
  const int64_t steps = busy ? 1 : std::min<int64_t>(4, steps_.most(phase_));
  const std::string plain = steps_.results(phase_, LaunchMode::Plain, steps);
  return steps_.results(phase_, mode, steps) == plain;
}

// Whether the last of the other modes is faster than the plain one, by the best of some rounds, so
// that a disturbed one does not decide. Recorded steps are only measured where there are
// cooperative ones: they can hardly be the faster of the two, unless the machine is busy, and that
// passes.
LaunchMode ModeTrial::compare(const std::vector<LaunchMode> &others) {
  std::vector<LaunchMode> modes = {LaunchMode::Plain};
  modes.insert(modes.end(), others.begin(), others.end());
  const double start = now();
  double best[LAUNCH_MODES] = {}, slowest = 0;
  for (const LaunchMode mode : modes) {
    best[index_of(mode)] = steps_.run(phase_, mode, 1);
    slowest = std::max(slowest, best[index_of(mode)]);
  }
  const auto steps = std::clamp<int64_t>(static_cast<int64_t>(BATCH_S / slowest), 1,
                                         std::min<int64_t>(8, steps_.most(phase_)));
  for (int round = 0; round < ROUNDS && now() - start < ENOUGH_S; ++round)
    for (const LaunchMode mode : modes) {
      double &least = best[index_of(mode)];
      least = std::min(least, steps_.run(phase_, mode, steps));
    }
  for (const LaunchMode mode : modes) phase_.modes.measured(mode, best[index_of(mode)]);
  const bool faster = best[index_of(others.back())] < MARGIN * best[index_of(LaunchMode::Plain)];
  return faster ? others.back() : LaunchMode::Plain;
}

}  // namespace pocket
