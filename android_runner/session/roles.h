// Where a plan keeps what a language model needs: its buffers and symbols, by their names.
#pragma once
#include <optional>

#include "plan/plan.h"

namespace pocket {

struct Roles {
  explicit Roles(const Plan &plan)
      : tokens(plan.buffer("tokens")),
        ids(plan.buffer("ids")),
        logits(plan.buffer("logits")),
        seq(plan.symbol("seq")),
        past(plan.symbol("past")),
        rows(plan.symbol("rows")),
        start(plan.symbol("start")),
        text_length(plan.find_symbol("text_length")) {}

  const size_t tokens, ids, logits;  // buffers
  const size_t seq, past, rows;      // symbols
  const size_t start;                // a vector: of each text the first token that is no padding
  // Of how many tokens the text will be, in plans that have tables by that (LongRoPE).
  const std::optional<size_t> text_length;
};

}  // namespace pocket
