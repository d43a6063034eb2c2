#include "session/text_checks.h"

#include "base/failure.h"

namespace pocket {

void check_tokens(const Plan &plan, const std::vector<int64_t> &ids, int64_t past) {
  const int64_t vocab = plan.model.vocab_size, context = plan.model.max_context;
  const auto count = static_cast<int64_t>(ids.size()) / plan.model.batch;
  if (ids.empty())
    throw Failure("no tokens to run", "the list of ids is empty", "give at least one id");
  if (static_cast<int64_t>(ids.size()) % plan.model.batch)
    throw Failure(std::to_string(ids.size()) + " tokens can't be fed",
                  "the plan was compiled for " + std::to_string(plan.model.batch) + " texts",
                  "as many tokens of each");
  for (size_t i = 0; i < ids.size(); ++i)
    if (!is_id(plan, ids[i]))
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

bool is_id(const Plan &plan, int64_t id) { return id >= 0 && id < plan.model.vocab_size; }

int64_t checked_id(const Plan &plan, int64_t id, int64_t past) {
  if (is_id(plan, id)) return id;
  throw Failure("the logits at position " + std::to_string(past) + " are not numbers",
                "the model computed NaN or infinity there",
                "pocketcl verify PLAN; an f16 model may need --weights f32");
}

void need_room(const Plan &plan, size_t buffer, int64_t has, int64_t needed) {
  if (has < needed)
    throw Failure(
        "the plan's buffer " + plan.buffers[buffer].name + " is too small",
        "its shape takes " + std::to_string(has) + " bytes, a text needs " + std::to_string(needed),
        "compile the model again, or undo the last edit of plan.json");
}

}  // namespace pocket
