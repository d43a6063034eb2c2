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
      steps_(executor, phases_),
      history_(plan) {
  if (plan.model.batch != 1)
    throw Failure("the plan has batch " + std::to_string(plan.model.batch),
                  "the runner runs one text at a time", "--on host, or compile with --batch 1");
  need_room_for(roles_.tokens, phases_.choosing_chunk());
  need_room_for(roles_.ids, plan.model.max_context + 1);
  for (const Symbol &symbol : plan.symbols)
    symbols_.push_back(symbol.counted ? symbol.range.high : symbol.range.low);
}

// By its shape, in the phases that are loaded: a plan may list more bytes than are ever used.
void Session::need_room_for(size_t buffer, int64_t items) const {
  need_room(plan_, buffer, executor_.buffer_bytes(buffer), 4 * items);
}

// Puts ids and symbols on the device; what comes next reads them from there.
void Session::feed(const std::vector<int64_t> &ids, size_t at, size_t count, int64_t past,
                   int64_t rows) {
  const std::vector<cl::Int> tokens(ids.begin() + at, ids.begin() + at + count);
  symbols_[roles_.seq] = static_cast<int64_t>(count);
  symbols_[roles_.past] = past;
  symbols_[roles_.rows] = rows;
  if (roles_.text_length)
    symbols_[*roles_.text_length] =
        std::max<int64_t>(expected_, past + static_cast<int64_t>(ids.size() - at));
  executor_.write(roles_.tokens, 0, tokens);
  executor_.bind(symbols_);
  last_rows_ = rows;
  history_.feed(tokens.data(), count, past);
}

int64_t Session::read_id(int64_t position) const {
  cl::Int id = 0;
  executor_.read(roles_.ids, sizeof id * position, &id, sizeof id);
  return id;
}

std::vector<float> Session::read_logits(int64_t row, int64_t rows) {
  const size_t vocab = plan_.model.vocab_size, row_bytes = sizeof(float) * vocab;
  if (row + rows > executor_.buffer_bytes(roles_.logits) / static_cast<int64_t>(row_bytes))
    throw Failure("the plan's buffer logits is too small",
                  std::to_string(row + rows) + " rows don't fit", "compile the model again");
  std::vector<float> values(rows * vocab);
  executor_.read(roles_.logits, row * row_bytes, values.data(), rows * row_bytes);
  return values;
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

// Prefill and decode note on the device what they are fed, for penalties; score has no such step.
void Session::note_ids(const std::vector<int64_t> &ids, int64_t past) {
  executor_.write(roles_.ids, past, std::vector<cl::Int>(ids.begin(), ids.end()));
}

Next Session::prefill(const std::vector<int64_t> &ids, int64_t past,
                      const Interrupted &interrupted) {
  check_tokens(plan_, ids, past);
  const double start = now();
  const size_t size = phases_.choosing_chunk();
  const int64_t last = past + ids.size();
  int64_t id = 0;
  for (size_t at = 0; at < ids.size(); at += size) {
    stop_if(interrupted);
    const size_t count = std::min(size, ids.size() - at);
    const Phase &phase = phases_.choosing(static_cast<int64_t>(count), past + at);
    feed(ids, at, count, past + at, 1);
    executor_.run(phase, [&](size_t buffer) {
      if (buffer == roles_.ids && at + count == ids.size()) id = read_id(last);
    });
    executor_.skip(phase);  // a piece of one token may run as a decode step does
  }
  prefill_s_ = now() - start;
  return {checked_id(plan_, id, last - 1), prefill_s_};
}

Next Session::step(int64_t id, int64_t past) {
  check_tokens(plan_, {id}, past);
  const double start = now();
  const Phase &phase = phases_.choosing(1, past);
  feed({id}, 0, 1, past, 1);
  int64_t next = 0;
  executor_.run(phase, [&](size_t buffer) {
    if (buffer == roles_.ids) next = read_id(past + 1);
  });
  executor_.took(phase, now() - start);
  return {checked_id(plan_, next, past), now() - start};
}

std::string Session::decode(int64_t id, int64_t past, int64_t count,
                            const std::vector<int64_t> &stop,
                            const std::function<void(int64_t)> &emit,
                            const Interrupted &interrupted) {
  const int64_t most = std::min(count, plan_.model.max_context - past);
  std::string reason = most >= count ? "length" : "context";
  if (most <= 0) return reason;
  check_tokens(plan_, {id}, past);
  const double start = now();
  feed({id}, 0, 1, past, 1);
  steps_.begin(past);
  for (bool more = true; more;) {
    steps_.send_up_to(most);
    history_.reach(past, steps_.sent());
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
  need_room_for(roles_.tokens, phases_.scoring_chunk());
  check_tokens(plan_, ids, past);
}

void Session::score(const std::vector<int64_t> &ids, int64_t past, const Take &take,
                    const Interrupted &interrupted) {
  check_score(ids, past);
  const size_t size = phases_.scoring_chunk();
  for (size_t at = 0; at < ids.size(); at += size) {
    stop_if(interrupted);
    const auto count = static_cast<int64_t>(std::min(size, ids.size() - at));
    const Phase &phase = phases_.scoring(count, past + at);
    feed(ids, at, count, past + at, count);
    executor_.run(phase, [&](size_t buffer) {
      if (buffer == roles_.logits) take(read_logits(0, count));
    });
  }
  note_ids(ids, past);
}

std::vector<float> Session::logits() {
  if (last_rows_ == 0) throw Failure("there are no logits yet", "nothing was run", "prefill first");
  return read_logits(last_rows_ - 1, 1);
}

void Session::save(const std::string &path, int64_t past, const std::string &note) {
  save_state(path, plan_, executor_, history_, past, note);
}

const History &Session::load(const std::string &path) {
  load_state(path, plan_, executor_, history_);
  return history_;
}

std::string Session::stats() const {
  return Record()
      .add("host_us_per_token",
           decode_tokens_ ? 1e6 * host_s_ / static_cast<double>(decode_tokens_) : 0.0)
      .add("peak_rss_bytes", peak_rss_bytes())
      .add("dispatches_per_token", executor_.dispatches(phases_.choosing(1, 0)))
      .add("prefill_s", prefill_s_)
      .add("decode_s", decode_s_)
      .add("decode_tokens", decode_tokens_)
      .raw("recorded", executor_.modes())
      .text();
}

}  // namespace pocket
