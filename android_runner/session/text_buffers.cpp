#include "session/text_buffers.h"

#include "base/failure.h"
#include "session/text_checks.h"

namespace pocket {

TextBuffers::TextBuffers(const Plan &plan, Executor &executor, const TextPhases &phases)
    : plan_(plan),
      executor_(executor),
      phases_(phases),
      roles_(phases.roles()),
      batch_(static_cast<size_t>(plan.model.batch)) {
  need_room_for(roles_.tokens, phases_.choosing_chunk());
  need_room_for(roles_.ids, plan.model.max_context + 1);
}

// By its shape, in the phases that are loaded: a plan may list more bytes than are ever used.
void TextBuffers::need_room_for(size_t buffer, int64_t items) const {
  const int64_t bytes = 4 * static_cast<int64_t>(batch_) * items;
  need_room(plan_, buffer, executor_.buffer_bytes(buffer), bytes);
}

void TextBuffers::need_room_to_score() const {
  need_room_for(roles_.tokens, phases_.scoring_chunk());
}

std::vector<cl::Int> TextBuffers::feed(const std::vector<int64_t> &ids, size_t at,
                                       size_t count) const {
  const size_t length = ids.size() / batch_;
  std::vector<cl::Int> tokens;
  for (size_t text = 0; text < batch_; ++text) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(text * length + at);
    tokens.insert(tokens.end(), first, first + static_cast<std::ptrdiff_t>(count));
  }
  executor_.write(roles_.tokens, 0, tokens);
  tokens.resize(count);
  return tokens;
}

std::vector<int64_t> TextBuffers::ids_at(int64_t position) const {
  std::vector<int64_t> ids;
  for (size_t text = 0; text < batch_; ++text) {
    const size_t at = text * (plan_.model.max_context + 1) + position;
    cl::Int id = 0;
    executor_.read(roles_.ids, sizeof id * at, &id, sizeof id);
    ids.push_back(checked_id(plan_, id, position - 1));
  }
  return ids;
}

void TextBuffers::note(const std::vector<int64_t> &ids, size_t at, size_t count,
                       int64_t past) const {
  const size_t length = ids.size() / batch_;
  for (size_t text = 0; text < batch_; ++text) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(text * length + at);
    const std::vector<cl::Int> own(first, first + static_cast<std::ptrdiff_t>(count));
    executor_.write(roles_.ids, text * (plan_.model.max_context + 1) + past, own);
  }
}

std::vector<float> TextBuffers::logits(int64_t first, int64_t count, int64_t rows) const {
  const int64_t vocab = plan_.model.vocab_size, batch = plan_.model.batch;
  const int64_t held = executor_.buffer_bytes(roles_.logits) / (4 * vocab);
  if (batch * rows > held)
    throw Failure("the plan's buffer logits is too small",
                  std::to_string(batch * rows) + " rows don't fit", "compile the model again");
  std::vector<float> values(batch * count * vocab);
  for (int64_t text = 0; text < batch; ++text)
    executor_.read(roles_.logits, 4 * (text * rows + first) * vocab,
                   values.data() + text * count * vocab, 4 * count * vocab);
  return values;
}

}  // namespace pocket
