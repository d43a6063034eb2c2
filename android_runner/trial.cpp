// Which way a recordable phase goes: a few steps of each, on buffers that nobody uses yet.
#include <algorithm>
#include <cstdio>

#include "executor.h"
#include "failure.h"
#include "json.h"
#include "system.h"

namespace pocket {
namespace {

constexpr int ROUNDS = 9;
constexpr double ENOUGH_S = 0.2;  // no further round after this time
constexpr double BATCH_S = 0.01;  // at least one step, at most eight
constexpr double MARGIN = 0.97;   // recording must save this much: a tie goes to the simpler way

std::vector<int64_t> smallest_symbols(const Plan &plan, const Phase &phase) {
  std::vector<int64_t> symbols;
  for (size_t i = 0; i < plan.symbols.size(); ++i)
    symbols.push_back(plan.symbols[i].counted ? phase.box[i].high : phase.box[i].low);
  return symbols;
}

}  // namespace

// Seconds per step, from the phase's first position on.
double Executor::try_steps(LoadedPhase &loaded, bool recorded, int64_t steps) {
  std::vector<int64_t> symbols = smallest_symbols(plan_, *loaded.phase);
  const std::vector<cl::Int> words(symbols.begin(), symbols.end());
  cl::check(cl::EnqueueWriteBuffer(device_.queue(0), memory_.symbols(), 1, 0, 4 * words.size(),
                                   words.data(), 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
  const size_t past = plan_.slot("past"), ids = plan_.buffer("ids");
  const double start = now();
  cl::Owned<cl::Event> arrived[2];  // as in a session: two steps under way, a look at each id
  cl::Int id = 0;
  for (int64_t i = 0; i < steps; ++i, ++symbols[past]) {
    cl::Event event = arrived[i % 2].get();
    if (event) cl::check(cl::WaitForEvents(1, &event), "clWaitForEvents");
    send(loaded, symbols, recorded);
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
bool Executor::agree(LoadedPhase &loaded) {
  const Range past = loaded.phase->box[plan_.slot("past")];
  const int64_t steps = std::min<int64_t>(4, past.high - past.low + 1);
  memory_.clear(device_);
  try_steps(loaded, false, steps);
  const std::string plain = results();
  memory_.clear(device_);
  try_steps(loaded, true, steps);
  return results() == plain;
}

// The best of some rounds, so that a disturbed one does not decide.
void Executor::compare(LoadedPhase &loaded, int64_t most) {
  const double start = now(), once = try_steps(loaded, false, 1);
  const auto steps = std::clamp<int64_t>(static_cast<int64_t>(BATCH_S / once), 1, most);
  double plain = once, recorded = 1e9;
  for (int round = 0; round < ROUNDS && (round == 0 || now() - start < ENOUGH_S); ++round) {
    recorded = std::min(recorded, try_steps(loaded, true, steps));
    plain = std::min(plain, try_steps(loaded, false, steps));
  }
  loaded.pace.measured(plain, recorded);
  loaded.pace.choose(recorded < MARGIN * plain, "measured");
}

// Why the phase can't be recorded; empty when it is.
std::string Executor::record(LoadedPhase &loaded, const std::string &wanted) try {
  for (Piece &piece : loaded.pieces)
    if (piece.plain) piece.recorded = record_in_command_buffers(piece.run);
  const Range past = loaded.phase->box[plan_.slot("past")];
  const bool same = agree(loaded);
  if (same) compare(loaded, std::min<int64_t>(8, past.high - past.low + 1));
  memory_.clear(device_);
  if (!same) return "recorded steps compute something else";
  if (wanted == "on") loaded.pace.choose(true, "asked for");
  else loaded.pace.watch();
  return "";
} catch (const DeviceFailure &failure) {
  return failure.what() + (", " + failure.because);
}

void Executor::choose(const std::string &wanted) {
  for (LoadedPhase &loaded : phases_) {
    if (!loaded.phase || !loaded.phase->recordable) continue;
    std::string lack = wanted == "off" ? "asked for"
                                       : device_.cannot_record();
    if (lack.empty()) lack = record(loaded, wanted);
    if (lack.empty()) continue;
    for (Piece &piece : loaded.pieces) piece.recorded = nullptr;
    loaded.pace.choose(false, lack);
    if (wanted == "on")
      fprintf(stderr, "note: the steps of %s are not recorded: %s\n", loaded.phase->name.c_str(),
              lack.c_str());
  }
}

std::string Executor::choices() const {
  Record record;
  for (const LoadedPhase &loaded : phases_)
    if (loaded.phase && loaded.phase->recordable)
      record.raw(loaded.phase->name.c_str(), loaded.pace.json());
  return record.text();
}

}  // namespace pocket
