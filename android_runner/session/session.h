// A language model that runs: chunked prefill, single steps, the decode loop, scores. The caller's
// `past` is authoritative. A plan of a batch has several texts, which end together: the shorter
// ones are padded on the left. What is fed is as many ids of each, see text_buffers.h.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "executor/executor.h"
#include "session/decode_steps.h"
#include "session/history.h"
#include "session/text_buffers.h"
#include "session/text_phases.h"

namespace pocket {

struct Next {
  std::vector<int64_t> ids;  // one of each text
  double seconds;
};

class Session {
 public:
  // `phases` are those that are loaded.
  Session(const Plan &plan, const std::vector<const Phase *> &phases, Executor &executor);
  Session(const Session &) = delete;

  using Interrupted = std::function<bool()>;
  Next prefill(const std::vector<int64_t> &ids, int64_t past, const Interrupted &interrupted);
  Next step(const std::vector<int64_t> &ids, int64_t past);

  // Of each text the position of its first token, behind the padding; 0 before.
  void begin(const std::vector<int64_t> &starts);

  // Calls `emit` with every new id, a stop id included; returns why it ended: eos, length, context
  // or cancel.
  std::string decode(int64_t id, int64_t past, int64_t count, const std::vector<int64_t> &stop,
                     const std::function<void(int64_t)> &emit, const Interrupted &interrupted);

  // How many tokens the text will have, as far as that is known: what depends on the length of a
  // text goes by this from here on, or by what one call feeds where that is more.
  void expect(int64_t tokens);

  // How ids are chosen from here on, in the words of sampling.clh; greedily before.
  void configure(const std::vector<int64_t> &words);

  // Of the ids chosen for positions from `start` up to `stop`, if the words ask for them.
  std::vector<float> logprobs(int64_t start, int64_t stop);

  // Logits of texts: `take` gets them chunk by chunk, [batch, ids of the chunk, V].
  using Take = std::function<void(const std::vector<float> &)>;
  void score(const std::vector<int64_t> &ids, int64_t past, const Take &take,
             const Interrupted &interrupted);
  void check_score(const std::vector<int64_t> &ids, int64_t past) const;  // what score checks first
  std::vector<float> logits();  // [batch, V], of the last position run

  // What a plan with weights in flash may take from here on, in bytes: see Executor. Not while a step
  // is under way; within decode only `emit` and `interrupted` may call it.
  int64_t budget(int64_t bytes) { return executor_.budget(bytes); }

  void imitate(const FlashModel &flash) { executor_.imitate(flash); }

  void start_profile() { executor_.start_profile(); }
  std::string take_profile() { return executor_.take_profile(); }  // as JSON; ends it
  void start_halves() { executor_.start_halves(); }
  std::string take_halves() { return executor_.take_halves(); }  // as JSON; ends it

  // The first `past` positions of text and states, see state_file.h; `note` is the caller's.
  void save(const std::string &path, int64_t past, const std::string &note);
  const History &load(const std::string &path);
  const History &history() const { return history_; }

  std::string stats() const;

 private:
  void need_one_text(const char *what) const;
  size_t length_of(const std::vector<int64_t> &ids) const { return ids.size() / texts_.batch(); }
  void feed(const std::vector<int64_t> &ids, size_t at, size_t count, int64_t past, int64_t rows);
  void run(const Phase &phase, int64_t past, int64_t count, const PhaseRunner::Take &take,
           bool chooses = true);
  void send_up_to(int64_t most, int64_t past);
  void govern(int64_t tokens);

  const Plan &plan_;
  Executor &executor_;
  const TextPhases phases_;
  const Roles &roles_;
  TextBuffers texts_;
  std::vector<int64_t> starts_;
  std::vector<int64_t> symbols_;
  DecodeSteps steps_;
  History history_;  // of a batch: of its first text
  int64_t expected_ = 0;   // tokens of the text
  int64_t last_rows_ = 0;  // rows of logits that the last run left; 0: nothing ran
  int64_t decode_tokens_ = 0;
  double prefill_s_ = 0, decode_s_ = 0, host_s_ = 0;  // of the last prefill and decode
};

}  // namespace pocket
