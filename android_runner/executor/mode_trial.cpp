// Which way a recordable phase goes: a few steps of each, on buffers that nobody uses yet.
#include <algorithm>
#include <cstdio>

#include "base/failure.h"
#include "base/json.h"
#include "base/os.h"
#include "executor/executor.h"

namespace pocket {
namespace {

constexpr int ROUNDS = 9;
constexpr double ENOUGH_S = 0.2;  // no further round after this time
constexpr double BATCH_S = 0.01;  // at least one step, at most eight
constexpr double MARGIN = 0.97;   // another way must save this much: a tie goes to the plain one

int64_t positions(const Plan &plan, const Phase &phase) {
  const Range past = phase.box[plan.slot("past")];
  return past.high - past.low + 1;
}

// Whatever is thrown, nothing is under way afterwards that writes to the host.
struct Rest {
  const Device &device;
  ~Rest() {
    try {
      device.wait();
    } catch (const Failure &) {  // what was thrown first is what is told
    }
  }
};

}  // namespace

// Seconds per step, from the phase's first position on.
double Executor::try_steps(LoadedPhase &loaded, Way way, int64_t steps) {
  std::vector<int64_t> symbols = smallest_symbols(plan_, *loaded.phase);
  const std::vector<cl::Int> words(symbols.begin(), symbols.end());
  cl::check(cl::EnqueueWriteBuffer(device_.queue(0), memory_.symbols(), 1, 0, 4 * words.size(),
                                   words.data(), 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
  const size_t past = plan_.slot("past"), ids = plan_.buffer("ids");
  const double start = now();
  cl::Owned<cl::Event> arrived[2];  // as in a session: two steps under way, a look at each id
  cl::Int id = 0;
  const Rest rest{device_};
  for (int64_t i = 0; i < steps; ++i, ++symbols[past]) {
    cl::Event event = arrived[i % 2].get();
    if (event) cl::check(cl::WaitForEvents(1, &event), "clWaitForEvents");
    send(loaded, symbols, way);
    cl::check(cl::EnqueueReadBuffer(device_.queue(0), memory_.buffer(ids), 0, 0, 4, &id, 0, nullptr,
                                    &event),
              "clEnqueueReadBuffer");
    arrived[i % 2] = cl::Owned<cl::Event>(event);
    cl::check(cl::Flush(device_.queue(0)), "clFlush");
  }
  device_.wait();
  return (now() - start) / static_cast<double>(steps);
}

// What a phase leaves: the ids, and the logits of the last position.
std::string Executor::results() const {
  std::string all;
  for (const char *name : {"ids", "logits"}) {
    const size_t buffer = plan_.buffer(name);
    const int64_t bytes = std::min(memory_.buffer_bytes(buffer), 4 * plan_.model.vocab_size);
    std::string part(static_cast<size_t>(bytes), '\0');
    cl::check(cl::EnqueueReadBuffer(device_.queue(0), memory_.buffer(buffer), 1, 0, part.size(),
                                    &part[0], 0, nullptr, nullptr),
              "clEnqueueReadBuffer");
    all += part;
  }
  return all;
}

// Whether both ways compute the same; it also warms them up. A driver that does not keep the
// arguments of a recorded dispatch is found out here.
bool Executor::agree(LoadedPhase &loaded, Way way) {
  const bool slow = try_steps(loaded, way, 1) > ENOUGH_S;  // the machine has other things to do
  const int64_t steps = slow ? 1 : std::min<int64_t>(4, positions(plan_, *loaded.phase));
  memory_.clear(device_);
  try_steps(loaded, Way::Plain, steps);
  const std::string plain = results();
  memory_.clear(device_);
  try_steps(loaded, way, steps);
  return results() == plain;
}

// Whether the last of the other ways is faster than the plain one, by the best of some rounds, so
// that a disturbed one does not decide. Recorded steps are only measured where there are
// cooperative ones: they can hardly be the faster of the two, unless the machine is busy, and that
// passes.
Way Executor::compare(LoadedPhase &loaded, const std::vector<Way> &others) {
  std::vector<Way> ways = {Way::Plain};
  ways.insert(ways.end(), others.begin(), others.end());
  const double start = now();
  double best[WAYS], slowest = 0;
  for (const Way way : ways)
    slowest = std::max(slowest, best[static_cast<size_t>(way)] = try_steps(loaded, way, 1));
  const auto steps = std::clamp<int64_t>(static_cast<int64_t>(BATCH_S / slowest), 1,
                                         std::min<int64_t>(8, positions(plan_, *loaded.phase)));
  for (int round = 0; round < ROUNDS && now() - start < ENOUGH_S; ++round)
    for (const Way way : ways) {
      double &least = best[static_cast<size_t>(way)];
      least = std::min(least, try_steps(loaded, way, steps));
    }
  for (const Way way : ways) loaded.pace.measured(way, best[static_cast<size_t>(way)]);
  const bool faster = best[static_cast<size_t>(others.back())] < MARGIN * best[0];
  return faster ? others.back() : Way::Plain;
}

// What the way needs and is not there; empty when it can be tried.
std::string Executor::lacking(const LoadedPhase &loaded, Way way) const {
  if (way == Way::Recorded) return device_.cannot_record();
  if (!loaded.phase->cooperative) return "the plan has no program for it";
  if (plan_.edited) return "plan.json was edited";
  if (device_.profiling()) return "kernel times are taken";
  for (const Launch &launch : loaded.launches) {
    if (!launch.kernel) continue;
    const File &file = plan_.files[launch.program->file];
    if (file.edited) return file.path + " was edited";
    if (launch.variant != &launch.step->variants[0])
      return launch.step->name + " runs as a variant";
    if (launch.queue != 0) return launch.step->name + " has a queue of its own";
  }
  return cannot_cooperate(device_.facts());
}

void Executor::make(LoadedPhase &loaded, Way way) {
  std::unique_ptr<Cooperation> cooperation;
  if (way == Way::Cooperative) {
    const Programs::Build &steps = programs_.get(*loaded.phase->cooperative);
    if (!steps.program)
      throw DeviceFailure("the step kernel does not build", steps.log.substr(0, 400), "");
    cooperation = std::make_unique<Cooperation>(device_, steps.program.get());
    if (!cooperation->side_by_side() && !cooperation->side_by_side())
      throw DeviceFailure("work-groups do not run side by side", "some waited in vain", "");
  }
  for (Piece &piece : loaded.pieces)
    if (piece.at(Way::Plain))
      piece.ways[static_cast<size_t>(way)] =
          cooperation ? cooperation->recorder(piece.run) : record_in_command_buffers(piece.run);
}

// Why the phase can't go this way; empty when it can.
std::string Executor::prepare(LoadedPhase &loaded, Way way) try {
  const std::string lack = lacking(loaded, way);
  if (!lack.empty()) return lack;
  const std::string steps = way == Way::Recorded ? "recorded steps" : "cooperative steps";
  const std::string trial = "trying " + steps + " of " + loaded.phase->name;
  const std::string death = programs_.death_of(trial);
  if (!death.empty()) return death;
  if (!loaded.tried) try_steps(loaded, Way::Plain, 1);  // so that no kernel of it can be to blame
  programs_.risk(trial);
  make(loaded, way);
  programs_.risk(trial);  // again: there was a program to get
  const bool same = agree(loaded, way);
  programs_.journal().done();
  return same ? "" : steps + " compute something else";
} catch (const DeviceFailure &failure) {
  programs_.journal().done();
  return failure.what() + (", " + failure.because);
}

// Makes the way ready, unless there is a reason against it.
bool Executor::offer(LoadedPhase &loaded, Way way, const std::string &wish) {
  const std::string lack = wish == "off" ? "asked for" : prepare(loaded, way);
  loaded.pace.refused(way, lack);
  if (lack.empty()) return true;
  for (Piece &piece : loaded.pieces) piece.ways[static_cast<size_t>(way)] = nullptr;
  if (wish == "on")
    fprintf(stderr, "note: the steps of %s are not %s: %s\n", loaded.phase->name.c_str(),
            way == Way::Recorded ? "recorded" : "cooperative", lack.c_str());
  return false;
}

void Executor::choose(const std::string &recorded, const std::string &cooperative) {
  const std::pair<Way, std::string> wishes[] = {{Way::Recorded, recorded},
                                                {Way::Cooperative, cooperative}};
  for (LoadedPhase &loaded : phases_) {
    if (!loaded.phase || !loaded.phase->recordable) continue;
    std::vector<Way> others;
    Way wanted = Way::Plain;
    for (const auto &[way, wish] : wishes) {
      if (!offer(loaded, way, wish)) continue;
      others.push_back(way);
      if (wish == "on") wanted = way;
    }
    settle(loaded, others, wanted);
    memory_.clear(device_);
  }
}

// The way that is asked for, for good; else the faster one, watched. Where that is the plain one,
// the machine may have been busy: work-groups that meet get another chance later.
void Executor::settle(LoadedPhase &loaded, const std::vector<Way> &others, Way wanted) {
  if (others.empty()) return loaded.pace.choose(Way::Plain, loaded.pace.refusal());
  const Way faster = compare(loaded, others), other = others.back();
  if (wanted != Way::Plain) return loaded.pace.choose(wanted, "asked for");
  loaded.pace.choose(faster, "measured");
  if (faster == other || other == Way::Cooperative) loaded.pace.watch(other);
}

std::string Executor::choices() const {
  Record record;
  for (const LoadedPhase &loaded : phases_)
    if (loaded.phase && loaded.phase->recordable)
      record.raw(loaded.phase->name.c_str(), loaded.pace.json());
  return record.text();
}

}  // namespace pocket
