#include "executor/executor.h"

#include <utility>

#include "base/failure.h"
#include "base/json.h"
#include "base/os.h"

namespace pocket {

void Executor::load(const std::vector<const Phase *> &phases, bool cooperative) {
  runner_.load(phases, cooperative);
}

void Executor::choose_modes(const ModeWishes &wishes, const StepPattern &pattern) {
  wishes_ = wishes;
  pattern_ = pattern;
  TrialSteps steps(plan_, device_, memory_, runner_, pattern);
  const Gatherer::Rehearsal rehearsal(runner_.gatherer());
  for (BoundPhase &bound : runner_.phases()) {
    if (!bound.phase || !bound.phase->recordable) continue;
    ModeTrial(plan_, device_, programs_, steps, runner_.pace(), bound).settle(wishes);
    steps.clear();
  }
}

void Executor::bind(const std::vector<int64_t> &symbols, const Vectors &vectors) {
  symbols_ = symbols;
  const std::vector<cl::Int> words = symbol_words(plan_, symbols, vectors);
  device_.write(memory_.symbols(), 0, words.data(), sizeof(cl::Int) * words.size());
}

void Executor::write(size_t buffer, size_t offset, const void *data, size_t bytes) const {
  device_.write(memory_.buffer(buffer), offset, data, bytes);
}

void Executor::run(const Phase &phase, const PhaseRunner::Take &take, bool chooses) {
  runner_.run(runner_.bound(phase), symbols_, take, chooses);
}

void Executor::read(size_t buffer, size_t offset, void *into, size_t bytes) {
  const double asked_s = now();
  device_.read(memory_.buffer(buffer), offset, into, bytes);
  runner_.pace().reached(device_.queue(0), asked_s);
}

PendingRead Executor::read_later(size_t buffer, size_t offset, void *into, size_t bytes) const {
  return device_.read_later(memory_.buffer(buffer), offset, into, bytes);
}

int64_t Executor::dispatches(const Phase &phase) const {
  int64_t count = 0;
  for (const BoundDispatch &dispatch : runner_.bound(phase).dispatches)
    count += dispatch.kernel ? 1 : 0;
  for (const auto &inside : runner_.bound(phase).gathered)
    count += static_cast<int64_t>(inside.size());
  return count;
}

Gatherer &Executor::gatherer(const std::string &what) const {
  if (Gatherer *const found = runner_.gatherer()) return *found;
  throw Failure(what + " has no effect here",
                "the plan has no weights in flash: all of it lies in memory",
                "compile the model with --memory");
}

int64_t Executor::budget(int64_t bytes) {
  Gatherer &tables = gatherer("a budget");
  with_new_slots([&] { return tables.use(bytes); });
  return tables.memory();
}

void Executor::govern(int64_t tokens) {
  Gatherer *const tables = runner_.gatherer();
  if (tables) with_new_slots([&] { return tables->govern(tokens); });
}

// What kernels are given, and how steps are launched that are others now.
void Executor::renew() {
  runner_.forget_slots();
  TrialSteps steps(plan_, device_, memory_, runner_, pattern_);
  for (BoundPhase &bound : runner_.phases())
    if (bound.anew && bound.phase->recordable)
      ModeTrial(plan_, device_, programs_, steps, runner_.pace(), bound).settle_anew(wishes_);
}

// Where that fails too, the first failure is the one to report.
void Executor::renew_after(const Failure &first) try {
  whole_or_lost([this] { renew(); });
} catch (const DeviceFailure &) {
  throw DeviceFailure(first.what(), first.because, first.hint);
}

// Also where records can't be read for the point that is gone on with.
template <class Change>
void Executor::with_new_slots(const Change &change) {
  bool changed = false;
  try {
    changed = change();
  } catch (const DeviceFailure &) {
    throw;
  } catch (const Failure &failure) {
    renew_after(failure);
    throw;
  }
  if (changed) whole_or_lost([this] { renew(); });
}

double Executor::new_waits_s() {
  const double now_s = runner_.gatherer() ? runner_.gatherer()->waited_s() : 0;
  return now_s - std::exchange(waits_s_, now_s);
}

void Executor::imitate(const FlashModel &flash) { gatherer("a flash").imitate(flash); }

std::string Executor::gathered() const {
  return runner_.gatherer() ? runner_.gatherer()->counts() : "";
}

std::string Executor::modes() const {
  Record record;
  for (const Phase &phase : plan_.phases)
    if (phase.recordable && runner_.bound(phase).phase)
      record.raw(phase.name.c_str(), runner_.bound(phase).modes.json());
  return record.text();
}

}  // namespace pocket
