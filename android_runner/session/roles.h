// Where a plan keeps what a language model needs: its buffers and symbols, by their names.
#pragma once
#include "plan/plan.h"

namespace pocket {

struct Roles {
  explicit Roles(const Plan &plan)
      : tokens(plan.buffer("tokens")),
        ids(plan.buffer("ids")),
        logits(plan.buffer("logits")),
        seq(plan.symbol("seq")),
        past(plan.symbol("past")),
        rows(plan.symbol("rows")) {}

  const size_t tokens, ids, logits;  // buffers
  const size_t seq, past, rows;      // symbols
};

}  // namespace pocket
