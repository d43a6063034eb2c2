// include/pocketcl.h over Engine: nothing is allocated before what was given has been looked at.
#include <algorithm>
#include <new>

#include "base/failure.h"
#include "capi/c_handle.h"
#include "capi/c_options.h"

namespace {

using pocket::Exclusive;
using pocket::Failure;
using pocket::guarded;
using pocket::with;

const pocket::History &history(const pocketcl *handle) {
  return handle->engine->session().history();
}

void need(const void *pointer, const char *name) {
  if (!pointer)
    throw Failure(std::string(name) + " is NULL", "the call needs it", "see pocketcl.h");
}

// Where a run may begin: a gap in the text would leave states that nobody has written.
void check_past(const pocketcl &handle, int64_t past) {
  const int64_t length = history(&handle).length();
  if (past < 0 || past > length)
    throw Failure("there is no position " + std::to_string(past) + " to go on from",
                  "the text has " + std::to_string(length) + " tokens",
                  "a position up to " + std::to_string(length));
  if (!history(&handle).holds(past))
    throw Failure("position " + std::to_string(past) + " is too far back",
                  "the model's windows forget: the text went on to " +
                      std::to_string(history(&handle).reached()),
                  "feed the text again from position 0");
}

std::vector<int64_t> tokens(const pocketcl &handle, const int32_t *ids, size_t count) {
  if (count) need(ids, "ids");
  const auto context = static_cast<size_t>(handle.engine->plan().model.max_context);
  if (count > context)
    throw Failure(std::to_string(count) + " tokens don't fit into the context",
                  "the plan was compiled for " + std::to_string(context) + " positions",
                  "a shorter text, or compile with a larger --max-context");
  return {ids, ids + count};
}

std::vector<int64_t> stop_ids(const pocketcl &handle, const int32_t *stop, size_t stops) {
  if (stop) return {stop, stop + stops};
  return handle.engine->plan().model.eos;
}

pocketcl_stop stop_of(const std::string &reason) {
  return reason == "eos"       ? POCKETCL_STOP_EOS
         : reason == "length"  ? POCKETCL_STOP_LENGTH
         : reason == "context" ? POCKETCL_STOP_CONTEXT
                               : POCKETCL_STOP_CANCEL;
}

const char *as_json(pocketcl *handle, std::string (*text)(pocket::Engine &)) {
  const pocketcl_status status =
      with(handle, [&](pocket::Session &) { handle->json = text(*handle->engine); });
  return status == POCKETCL_OK ? handle->json.c_str() : nullptr;
}

const char *text_of(const pocketcl *handle, const std::string pocketcl::*text) {
  return !handle || handle->starved ? "out of memory" : (handle->*text).c_str();
}

}  // namespace

const char *pocketcl_version(void) { return pocket::VERSION; }

pocketcl_status pocketcl_open(const pocketcl_options *options, pocketcl **handle) {
  if (!handle) return POCKETCL_ERROR;
  pocketcl *made = *handle = new (std::nothrow) pocketcl;
  if (!made) return POCKETCL_LOST;
  const pocketcl_status status = guarded(*made, [&] {
    made->engine = std::make_unique<pocket::Engine>(pocket::engine_options(options));
    const int64_t batch = made->engine->plan().model.batch;
    if (batch != 1)
      throw Failure("the plan has batch " + std::to_string(batch),
                    "an app runs one text at a time", "compile with --batch 1");
    const std::vector<int64_t> &eos = made->engine->plan().model.eos;
    made->eos.assign(eos.begin(), eos.end());
  });
  made->lost = status != POCKETCL_OK;
  return made->lost ? POCKETCL_LOST : POCKETCL_OK;
}

void pocketcl_close(pocketcl *handle) { delete handle; }

const char *pocketcl_what(const pocketcl *handle) { return text_of(handle, &pocketcl::what); }
const char *pocketcl_because(const pocketcl *handle) { return text_of(handle, &pocketcl::because); }
const char *pocketcl_hint(const pocketcl *handle) { return text_of(handle, &pocketcl::hint); }

int32_t pocketcl_vocab_size(const pocketcl *handle) {
  return handle && handle->engine ? static_cast<int32_t>(handle->engine->plan().model.vocab_size)
                                  : 0;
}

int32_t pocketcl_max_context(const pocketcl *handle) {
  return handle && handle->engine ? static_cast<int32_t>(handle->engine->plan().model.max_context)
                                  : 0;
}

size_t pocketcl_eos(const pocketcl *handle, const int32_t **ids) {
  if (ids) *ids = handle ? handle->eos.data() : nullptr;
  return handle ? handle->eos.size() : 0;
}

const char *pocketcl_info(pocketcl *handle) {
  return as_json(handle, [](pocket::Engine &engine) { return engine.facts(); });
}

const char *pocketcl_stats(pocketcl *handle) {
  return as_json(handle, [](pocket::Engine &engine) { return engine.session().stats(); });
}

pocketcl_status pocketcl_sample(pocketcl *handle, const pocketcl_sampling *sampling) {
  return with(handle, [&](pocket::Session &session) {
    const std::vector<int64_t> words = pocket::sampling_words(sampling);
    // A plan that knows nothing else is greedy already.
    const bool plain = words == pocket::sampling_words(nullptr);
    if (!plain || handle->engine->plan().has_buffer("sampling")) session.configure(words);
  });
}

pocketcl_status pocketcl_expect(pocketcl *handle, int32_t tokens) {
  return with(handle, [&](pocket::Session &session) { session.expect(tokens); });
}

pocketcl_status pocketcl_prefill(pocketcl *handle, const int32_t *ids, size_t count, int32_t past,
                                 int32_t *next) {
  return with(handle, [&](pocket::Session &session) {
    check_past(*handle, past);
    const pocket::Next found = session.prefill(tokens(*handle, ids, count), past,
                                               [&] { return handle->cancelled.load(); });
    if (next) *next = static_cast<int32_t>(found.ids.front());
  });
}

pocketcl_status pocketcl_decode(pocketcl *handle, int32_t id, int32_t past, int32_t *next) {
  return with(handle, [&](pocket::Session &session) {
    check_past(*handle, past);
    const pocket::Next found = session.step({id}, past);
    if (next) *next = static_cast<int32_t>(found.ids.front());
  });
}

pocketcl_status pocketcl_generate(pocketcl *handle, int32_t id, int32_t past, int32_t count,
                                  const int32_t *stop, size_t stops, pocketcl_on_id on_id,
                                  void *user, pocketcl_stop *why) {
  return with(handle, [&](pocket::Session &session) {
    if (!on_id) need(nullptr, "on_id");
    if (count < 0)
      throw Failure(std::to_string(count) + " ids can't be generated", "the count is negative",
                    "0 or more");
    check_past(*handle, past);
    bool ended = false, thrown = false;
    const auto emit = [&](int64_t next) {
      try {
        ended = on_id(user, static_cast<int32_t>(next)) != 0;
      } catch (...) {  // the device must come to rest first
        ended = thrown = true;
      }
    };
    const std::string reason = session.decode(id, past, count, stop_ids(*handle, stop, stops), emit,
                                              [&] { return ended || handle->cancelled.load(); });
    if (thrown)
      throw Failure("the callback failed", "it threw an exception", "catch it in the callback");
    if (why) *why = stop_of(reason);
  });
}

void pocketcl_cancel(pocketcl *handle) {
  if (handle) handle->cancelled.store(true);
}

int32_t pocketcl_position(const pocketcl *handle) {
  if (!handle || !handle->engine) return 0;
  const Exclusive access(*handle);
  return access.mine ? static_cast<int32_t>(history(handle).length()) : -1;
}

size_t pocketcl_text(const pocketcl *handle, int32_t *ids, size_t count) {
  if (!handle || !handle->engine || !ids) return 0;
  const Exclusive access(*handle);
  if (!access.mine) return 0;
  const size_t copied = std::min(count, static_cast<size_t>(history(handle).length()));
  std::copy_n(history(handle).ids().begin(), copied, ids);
  return copied;
}

pocketcl_status pocketcl_logits(pocketcl *handle, float *logits, size_t count) {
  return with(handle, [&](pocket::Session &session) {
    need(logits, "logits");
    const int64_t vocab = handle->engine->plan().model.vocab_size;
    if (count != static_cast<size_t>(vocab))
      throw Failure("there is room for " + std::to_string(count) + " logits",
                    "a position has " + std::to_string(vocab), "pocketcl_vocab_size of them");
    const std::vector<float> values = session.logits();
    std::copy(values.begin(), values.end(), logits);
  });
}

pocketcl_status pocketcl_score(pocketcl *handle, const int32_t *ids, size_t count, int32_t past,
                               float *logits) {
  return with(handle, [&](pocket::Session &session) {
    need(logits, "logits");
    check_past(*handle, past);
    float *at = logits;
    session.score(
        tokens(*handle, ids, count), past,
        [&at](const std::vector<float> &rows) { at = std::copy(rows.begin(), rows.end(), at); },
        [&] { return handle->cancelled.load(); });
  });
}

pocketcl_status pocketcl_logprobs(pocketcl *handle, int32_t start, size_t count, float *logprobs) {
  return with(handle, [&](pocket::Session &session) {
    need(logprobs, "logprobs");
    const int64_t most = handle->engine->plan().model.max_context + 1;
    const int64_t stop = start + static_cast<int64_t>(std::min<size_t>(count, most + 1));
    const std::vector<float> values = session.logprobs(start, stop);
    std::copy(values.begin(), values.end(), logprobs);
  });
}

pocketcl_status pocketcl_keep_warm(pocketcl *handle) {
  return with(handle, [&](pocket::Session &) { handle->engine->keep_warm(); });
}

pocketcl_status pocketcl_save(pocketcl *handle, const char *path, int32_t past) {
  return with(handle, [&](pocket::Session &session) {
    need(path, "path");
    session.save(path, past, "");
  });
}

pocketcl_status pocketcl_load(pocketcl *handle, const char *path, int32_t *past) {
  return with(handle, [&](pocket::Session &session) {
    need(path, "path");
    const size_t positions = session.load(path).ids().size();
    if (past) *past = static_cast<int32_t>(positions);
  });
}
