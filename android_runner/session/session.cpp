#include "session/session.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "base/json.h"

namespace pocket {
namespace {

void stop_if(const Session::Interrupted &interrupted) {
  if (interrupted()) throw Cancelled();
}

}  // namespace

Session::Session(const Plan &plan, const Device &device, const Memory &memory, Executor &executor)
    : plan_(plan),
      device_(device),
      memory_(memory),
      executor_(executor),
      tokens_(plan.buffer("tokens")),
      ids_(plan.buffer("ids")),
      logits_(plan.buffer("logits")),
      seq_(plan.slot("seq")),
      past_(plan.slot("past")),
      rows_(plan.slot("rows")),
      decode_phase_(plan.phase("decode")) {
  if (plan.model.batch != 1)
    throw Failure("the plan has batch " + std::to_string(plan.model.batch),
                  "the runner runs one text at a time", "--on host, or compile with --batch 1");
  need_room(tokens_, 4 * chunk("prefill"));
  need_room(ids_, 4 * (plan.model.max_context + 1));
  for (const Symbol &symbol : plan.symbols)
    symbols_.push_back(symbol.counted ? symbol.range.high : symbol.range.low);
}

// By its shape, in the phases that are loaded: a plan may list more bytes than are ever used.
void Session::need_room(size_t buffer, int64_t bytes) const {
  if (memory_.buffer_bytes(buffer) < bytes)
    throw Failure("the plan's buffer " + plan_.buffers[buffer].name + " is too small",
                  "its shape takes " + std::to_string(memory_.buffer_bytes(buffer)) +
                      " bytes, a text needs " + std::to_string(bytes),
                  "compile the model again, or undo the last edit of plan.json");
}

void Session::check_tokens(const std::vector<int64_t> &ids, int64_t past) const {
  const int64_t vocab = plan_.model.vocab_size, context = plan_.model.max_context;
  const auto count = static_cast<int64_t>(ids.size());
  if (ids.empty())
    throw Failure("no tokens to run", "the list of ids is empty", "give at least one id");
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= vocab)
      throw Failure("token id " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                        " is out of range",
                    "the model's vocabulary has ids 0 to " + std::to_string(vocab - 1),
                    "use the tokenizer that belongs to this model");
  if (past < 0 || past > context || count > context - past)
    throw Failure(std::to_string(count) + " tokens at position " + std::to_string(past) +
                      " don't fit into the context",
                  "the plan was compiled for " + std::to_string(context) + " positions",
                  "a shorter text, or compile with a larger --max-context");
}

int64_t Session::checked_id(int64_t id, int64_t past) const {
  if (id >= 0 && id < plan_.model.vocab_size) return id;
  throw Failure("the logits at position " + std::to_string(past) + " are not numbers",
                "the model computed NaN or infinity there",
                "pocketcl verify PLAN; an f16 model may need --weights f32");
}

int64_t Session::chunk(const char *phase) const {
  return std::min(plan_.model.prefill_chunk, plan_.phase(phase)->box[seq_].high);
}

// Puts ids and symbols on the device; what comes next reads them from there.
void Session::feed(const std::vector<int64_t> &ids, size_t at, size_t count, int64_t past,
                   int64_t rows) {
  const std::vector<cl::Int> tokens(ids.begin() + at, ids.begin() + at + count);
  symbols_[seq_] = static_cast<int64_t>(count);
  symbols_[past_] = past;
  symbols_[rows_] = rows;
  const std::vector<cl::Int> symbols(symbols_.begin(), symbols_.end());
  cl::check(cl::EnqueueWriteBuffer(device_.queue(0), memory_.buffer(tokens_), 1, 0,
                                   4 * tokens.size(), tokens.data(), 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
  cl::check(cl::EnqueueWriteBuffer(device_.queue(0), memory_.symbols(), 1, 0, 4 * symbols.size(),
                                   symbols.data(), 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
  last_rows_ = rows;
  held_.feed(tokens.data(), count, past);
}

int64_t Session::read_id(int64_t position) {
  cl::Int id = 0;
  cl::check(cl::EnqueueReadBuffer(device_.queue(0), memory_.buffer(ids_), 1, 4 * position, 4, &id,
                                  0, nullptr, nullptr),
            "clEnqueueReadBuffer");
  return id;
}

std::vector<float> Session::read_logits(int64_t row, int64_t rows) {
  const size_t vocab = plan_.model.vocab_size, row_bytes = 4 * vocab;
  if (row + rows > memory_.buffer_bytes(logits_) / static_cast<int64_t>(row_bytes))
    throw Failure("the plan's buffer logits is too small",
                  std::to_string(row + rows) + " rows don't fit", "compile the model again");
  std::vector<float> values(rows * vocab);
  cl::check(cl::EnqueueReadBuffer(device_.queue(0), memory_.buffer(logits_), 1, row * row_bytes,
                                  rows * row_bytes, values.data(), 0, nullptr, nullptr),
            "clEnqueueReadBuffer");
  return values;
}

void Session::configure(const std::vector<int64_t> &words) {
  const std::vector<cl::Int> values(words.begin(), words.end());
  const size_t buffer = plan_.buffer("sampling");
  if (memory_.buffer_bytes(buffer) != static_cast<int64_t>(4 * values.size()))
    throw Failure(std::to_string(values.size()) + " words of sampling",
                  "the plan's buffer holds " + std::to_string(memory_.buffer_bytes(buffer) / 4),
                  "see opencl_kernels/include/sampling.clh");
  cl::check(cl::EnqueueWriteBuffer(device_.queue(0), memory_.buffer(buffer), 1, 0,
                                   4 * values.size(), values.data(), 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
}

std::vector<float> Session::logprobs(int64_t start, int64_t stop) {
  const size_t buffer = plan_.buffer("logprobs");
  if (start < 0 || stop < start || 4 * stop > memory_.buffer_bytes(buffer))
    throw Failure("there are no positions " + std::to_string(start) + " to " + std::to_string(stop),
                  "the plan was compiled for " + std::to_string(plan_.model.max_context),
                  "positions of ids that were chosen");
  std::vector<float> values(stop - start);
  if (!values.empty())
    cl::check(cl::EnqueueReadBuffer(device_.queue(0), memory_.buffer(buffer), 1, 4 * start,
                                    4 * values.size(), values.data(), 0, nullptr, nullptr),
              "clEnqueueReadBuffer");
  return values;
}

// Prefill and decode note on the device what they are fed, for penalties; score has no such step.
void Session::note_ids(const std::vector<int64_t> &ids, int64_t past) {
  const std::vector<cl::Int> tokens(ids.begin(), ids.end());
  cl::check(cl::EnqueueWriteBuffer(device_.queue(0), memory_.buffer(ids_), 1, 4 * past,
                                   4 * tokens.size(), tokens.data(), 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
}

Next Session::prefill(const std::vector<int64_t> &ids, int64_t past,
                      const Interrupted &interrupted) {
  check_tokens(ids, past);
  const double start = now();
  const size_t size = chunk("prefill");
  for (size_t at = 0; at < ids.size(); at += size) {
    stop_if(interrupted);
    feed(ids, at, std::min(size, ids.size() - at), past + at, 1);
    executor_.run("prefill", symbols_);
  }
  const int64_t last = past + ids.size();
  const int64_t id = read_id(last);
  const double seconds = now() - start;
  prefill_s_ = seconds;
  return {checked_id(id, last - 1), seconds};
}

Next Session::step(int64_t id, int64_t past) {
  check_tokens({id}, past);
  const double start = now();
  feed({id}, 0, 1, past, 1);
  executor_.run(*decode_phase_, symbols_);
  const int64_t next = read_id(past + 1);
  executor_.took(*decode_phase_, now() - start);
  return {checked_id(next, past), now() - start};
}

// One decode step at `past`, whose token is already on the device; its id arrives with the event.
void Session::send(int64_t past, Pending &pending) {
  cl::Event event = nullptr;
  symbols_[past_] = past;
  executor_.run(*decode_phase_, symbols_);
  cl::check(cl::EnqueueReadBuffer(device_.queue(0), memory_.buffer(ids_), 0, 4 * (past + 1), 4,
                                  &pending.id, 0, nullptr, &event),
            "clEnqueueReadBuffer");
  pending.arrived = cl::Owned<cl::Event>(event);
  held_.reach(past, 1);
  cl::check(cl::Flush(device_.queue(0)), "clFlush");
}

void Session::settle() {
  device_.wait();
  executor_.settled(*decode_phase_);
  for (Pending &pending : pending_) pending.arrived = {};
}

std::string Session::decode(int64_t id, int64_t past, int64_t count,
                            const std::vector<int64_t> &stop,
                            const std::function<void(int64_t)> &emit,
                            const Interrupted &interrupted) {
  const int64_t steps = std::min(count, plan_.model.max_context - past);
  std::string reason = steps >= count ? "length" : "context";
  if (steps <= 0) return reason;
  check_tokens({id}, past);
  const double start = now();
  feed({id}, 0, 1, past, 1);
  const double fed = now();
  double waited = 0, arrived = fed, told = 0;
  int64_t sent = 0, taken = 0;
  for (bool more = true; more; ++taken, more = more && taken < steps) {
    // The device always has the next step to do while the host looks at the last one's id.
    while (sent < steps && sent < taken + 2) send(past + sent, pending_[sent % 2]), ++sent;
    Pending &pending = pending_[taken % 2];
    const double before = now();
    const cl::Event event = pending.arrived.get();
    cl::check(cl::WaitForEvents(1, &event), "clWaitForEvents");
    const double last = std::exchange(arrived, now());
    waited += arrived - before;
    // A step that ended while nobody took its forerunner's id off us took less, but how much less?
    if (told < (arrived - last) / 2) executor_.took(*decode_phase_, arrived - last);
    else executor_.skip(*decode_phase_);
    if (pending.id < 0 || pending.id >= plan_.model.vocab_size) settle();
    emit(checked_id(pending.id, past + taken));
    told = now() - arrived;
    held_.ids.push_back(pending.id);
    if (std::find(stop.begin(), stop.end(), pending.id) != stop.end()) reason = "eos", more = false;
    else if (interrupted()) reason = "cancel", more = false;
  }
  host_s_ = now() - fed - waited;
  settle();
  decode_s_ = now() - start;
  decode_tokens_ = taken;
  return reason;
}

void Session::check_score(const std::vector<int64_t> &ids, int64_t past) const {
  if (!executor_.has("score"))
    throw Failure("the phase score is not loaded",
                  plan_.phase("score") ? "it was not asked for" : "the plan has none",
                  "--phases prefill,decode,score");
  need_room(tokens_, 4 * chunk("score"));
  check_tokens(ids, past);
}

void Session::score(const std::vector<int64_t> &ids, int64_t past, const Take &take,
                    const Interrupted &interrupted) {
  check_score(ids, past);
  const size_t size = chunk("score");
  for (size_t at = 0; at < ids.size(); at += size) {
    stop_if(interrupted);
    const size_t count = std::min(size, ids.size() - at);
    feed(ids, at, count, past + at, static_cast<int64_t>(count));
    executor_.run("score", symbols_);
    take(read_logits(0, static_cast<int64_t>(count)));
  }
  note_ids(ids, past);
}

std::vector<float> Session::logits() {
  if (last_rows_ == 0) throw Failure("there are no logits yet", "nothing was run", "prefill first");
  return read_logits(last_rows_ - 1, 1);
}

void Session::save(const std::string &path, int64_t past, const std::string &note) {
  save_state(path, plan_, device_, memory_, held_, past, note);
}

const Held &Session::load(const std::string &path) {
  return held_ = load_state(path, plan_, device_, memory_);
}

std::string Session::stats() const {
  return Record()
      .add("host_us_per_token",
           decode_tokens_ ? 1e6 * host_s_ / static_cast<double>(decode_tokens_) : 0.0)
      .add("peak_rss_bytes", peak_rss_bytes())
      .add("dispatches_per_token", executor_.dispatches("decode"))
      .add("prefill_s", prefill_s_)
      .add("decode_s", decode_s_)
      .add("decode_tokens", decode_tokens_)
      .raw("recorded", executor_.choices())
      .text();
}

}  // namespace pocket
