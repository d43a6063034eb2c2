#include "session/session.h"

#include <algorithm>

#include "base/failure.h"
#include "base/json.h"
#include "base/os.h"
#include "session/state_file.h"
#include "session/text_checks.h"

namespace pocket {
namespace {

void stop_if(const Session::Interrupted &interrupted) {
  if (interrupted()) throw Cancelled();
}

}  // namespace

Session::Session(const Plan &plan, const std::vector<const Phase *> &phases, Executor &executor)
    : plan_(plan),
      executor_(executor),
      phases_(plan, phases),
      roles_(phases_.roles()),
      texts_(plan, executor, phases_),
      starts_(texts_.batch(), 0),
      steps_(executor, phases_),
      history_(plan) {
  for (const Symbol &symbol : plan.symbols)
    symbols_.push_back(symbol.counted ? symbol.range.high : symbol.range.low);
}

// Puts ids and symbols on the device; what comes next reads them from there.
void Session::feed(const std::vector<int64_t> &ids, size_t at, size_t count, int64_t past,
                   int64_t rows) {
  const std::vector<cl::Int> tokens = texts_.feed(ids, at, count);
  symbols_[roles_.seq] = static_cast<int64_t>(count);
  symbols_[roles_.past] = past;
  symbols_[roles_.rows] = rows;
  if (roles_.text_length) {
    const int64_t end = past + static_cast<int64_t>(length_of(ids) - at);
    symbols_[*roles_.text_length] = std::max(expected_, end);
  }
  executor_.bind(symbols_, {{roles_.start, starts_}});
  last_rows_ = rows;
  history_.feed(tokens.data(), count, past);
}

// A run that fails, as where flash can't be read, leaves states that belong to no text.
void Session::run(const Phase &phase, int64_t past, int64_t count, const PhaseRunner::Take &take,
                  bool chooses) try {
  executor_.run(phase, take, chooses);
  executor_.govern(count);
} catch (...) {
  history_.fail(past, count);
  throw;
}

// Likewise: the step that fails is behind those that were sent.
void Session::send_up_to(int64_t most, int64_t past) try {
  steps_.send_up_to(most);
  history_.reach(past, steps_.sent());
} catch (...) {
  history_.fail(past + steps_.sent(), 1);
  throw;
}

// Where another point's records can't be read, no step is under way.
void Session::govern(int64_t tokens) try {
  executor_.govern(tokens);
} catch (...) {
  steps_.settle();
  throw;
}

void Session::begin(const std::vector<int64_t> &starts) {
  if (starts.size() != texts_.batch())
    throw Failure(std::to_string(starts.size()) + " texts can't begin",
                  "the plan was compiled for " + std::to_string(texts_.batch()),
                  "of each the position of its first token");
  for (const int64_t start : starts)
    if (start < 0 || start >= plan_.model.max_context)
      throw Failure("a text can't begin at position " + std::to_string(start),
                    "the plan was compiled for " + std::to_string(plan_.model.max_context),
                    "the number of padding tokens before it");
  starts_ = starts;
}

void Session::need_one_text(const char *what) const {
  if (texts_.batch() != 1)
    throw Failure(std::string(what) + " takes one text",
                  "the plan was compiled for " + std::to_string(texts_.batch()),
                  "compile with --batch 1");
}

void Session::expect(int64_t tokens) {
  if (tokens < 0 || tokens > plan_.model.max_context)
    throw Failure("a text cannot have " + std::to_string(tokens) + " tokens",
                  "the plan was compiled for " + std::to_string(plan_.model.max_context),
                  "0 for not known, or compile with a larger --max-context");
  expected_ = tokens;
}

void Session::configure(const std::vector<int64_t> &words) {
  const std::vector<cl::Int> values(words.begin(), words.end());
  const size_t buffer = plan_.buffer("sampling");
  const int64_t bytes = executor_.buffer_bytes(buffer);
  if (bytes != static_cast<int64_t>(4 * values.size()))
    throw Failure(std::to_string(values.size()) + " words of sampling",
                  "the plan's buffer holds " + std::to_string(bytes / 4),
                  "see opencl_kernels/include/sampling.clh");
  executor_.write(buffer, 0, values);
}

std::vector<float> Session::logprobs(int64_t start, int64_t stop) {
  const size_t buffer = plan_.buffer("logprobs");
  if (start < 0 || stop < start || 4 * stop > executor_.buffer_bytes(buffer))
    throw Failure("there are no positions " + std::to_string(start) + " to " + std::to_string(stop),
                  "the plan was compiled for " + std::to_string(plan_.model.max_context),
                  "positions of ids that were chosen");
  std::vector<float> values(stop - start);
  if (!values.empty())
    executor_.read(buffer, sizeof(float) * start, values.data(), sizeof(float) * values.size());
  return values;
}

Next Session::prefill(const std::vector<int64_t> &ids, int64_t past,
                      const Interrupted &interrupted) {
  check_tokens(plan_, ids, past);
  const double start = now();
  const size_t length = length_of(ids);
  const int64_t last = past + static_cast<int64_t>(length);
  std::vector<int64_t> next;
  for (size_t at = 0, count = 0; at < length; at += count) {
    stop_if(interrupted);
    count = static_cast<size_t>(phases_.piece(static_cast<int64_t>(length - at)));
    const Phase &phase = phases_.choosing(static_cast<int64_t>(count), past + at);
    feed(ids, at, count, past + at, 1);
    // Nobody asks what would come next; of a phase in memory that is too little to be left out.
    const bool chooses = at + count == length || !executor_.gathers(phase);
    if (!chooses) texts_.note(ids, at, count, past + at);
    run(phase, past + at, count, [&](size_t buffer) {
      if (buffer == roles_.ids && at + count == length) next = texts_.ids_at(last);
    }, chooses);
    executor_.skip(phase);  // a piece of one token may run as a decode step does
  }
  prefill_s_ = now() - start;
  return {next, prefill_s_};
}

Next Session::step(const std::vector<int64_t> &ids, int64_t past) {
  check_tokens(plan_, ids, past);
  if (length_of(ids) != 1)
    throw Failure(std::to_string(ids.size()) + " ids are no step", "each text goes on by one",
                  "prefill, or " + std::to_string(texts_.batch()) + " ids");
  const double start = now();
  const Phase &phase = phases_.choosing(1, past);
  feed(ids, 0, 1, past, 1);
  std::vector<int64_t> next;
  run(phase, past, 1, [&](size_t buffer) {
    if (buffer == roles_.ids) next = texts_.ids_at(past + 1);
  });
  executor_.took(phase, now() - start);
  return {next, now() - start};
}

std::string Session::decode(int64_t id, int64_t past, int64_t count,
                            const std::vector<int64_t> &stop,
                            const std::function<void(int64_t)> &emit,
                            const Interrupted &interrupted) {
  need_one_text("decode");
  const int64_t most = std::min(count, plan_.model.max_context - past);
  std::string reason = most >= count ? "length" : "context";
  if (most <= 0) return reason;
  check_tokens(plan_, {id}, past);
  const double start = now();
  feed({id}, 0, 1, past, 1);
  steps_.begin(past);
  for (bool more = true; more;) {
    send_up_to(most, past);
    const cl::Int next = steps_.take();
    if (!is_id(plan_, next)) steps_.settle();
    emit(checked_id(plan_, next, past + steps_.taken() - 1));
    steps_.emitted();
    history_.append(next);
    const bool stopped = std::find(stop.begin(), stop.end(), next) != stop.end();
    const bool cancelled = !stopped && interrupted();
    if (stopped) reason = "eos";
    if (cancelled) reason = "cancel";
    more = !stopped && !cancelled && steps_.taken() < most;
    govern(1);
  }
  host_s_ = steps_.host_s();
  steps_.settle();
  decode_s_ = now() - start;
  decode_tokens_ = steps_.taken();
  return reason;
}

void Session::check_score(const std::vector<int64_t> &ids, int64_t past) const {
  if (!phases_.scores()) {
    const PhaseChoice all(plan_, all_phases(plan_));
    if (all.giving(roles_.logits).empty())
      throw Failure("the plan cannot score", "none of its phases gives logits", "compile it again");
    const std::string &name = all.giving(roles_.logits).back()->name;
    throw Failure("the phase " + name + " is not loaded", "it was not asked for",
                  "--phases prefill,decode," + name);
  }
  texts_.need_room_to_score();
  check_tokens(plan_, ids, past);
}

void Session::score(const std::vector<int64_t> &ids, int64_t past, const Take &take,
                    const Interrupted &interrupted) {
  check_score(ids, past);
  const size_t size = phases_.scoring_chunk(), length = length_of(ids);
  for (size_t at = 0; at < length; at += size) {
    stop_if(interrupted);
    const auto count = static_cast<int64_t>(std::min(size, length - at));
    const Phase &phase = phases_.scoring(count, past + at);
    feed(ids, at, count, past + at, count);
    run(phase, past + at, count, [&](size_t buffer) {
      if (buffer == roles_.logits) take(texts_.logits(0, count, count));
    });
  }
  texts_.note(ids, 0, length, past);  // score has no step that does
}

std::vector<float> Session::logits() {
  if (last_rows_ == 0) throw Failure("there are no logits yet", "nothing was run", "prefill first");
  return texts_.logits(last_rows_ - 1, 1, last_rows_);
}

void Session::save(const std::string &path, int64_t past, const std::string &note) {
  need_one_text("a state file");
  save_state(path, plan_, executor_, history_, past, note);
}

const History &Session::load(const std::string &path) {
  need_one_text("a state file");
  load_state(path, plan_, executor_, history_);
  return history_;
}

std::string Session::stats() const {
  Record record;
  record
      .add("host_us_per_token",
           decode_tokens_ ? 1e6 * host_s_ / static_cast<double>(decode_tokens_) : 0.0)
      .add("peak_rss_bytes", peak_rss_bytes())
      .add("dispatches_per_token", executor_.dispatches(phases_.choosing(1, 0)))
      .add("prefill_s", prefill_s_)
      .add("decode_s", decode_s_)
      .add("decode_tokens", decode_tokens_)
      .raw("recorded", executor_.modes());
  if (!executor_.gathered().empty()) record.raw("tables", executor_.gathered());
  return record.text();
}

}  // namespace pocket
