// Where a plan keeps what a language model needs: its buffers, symbols and phases, by their names.
#pragma once
#include "plan/plan.h"

namespace pocket {

struct Roles {
  explicit Roles(const Plan &plan)
      : tokens(plan.buffer("tokens")),
        ids(plan.buffer("ids")),
        logits(plan.buffer("logits")),
        seq(plan.slot("seq")),
        past(plan.slot("past")),
        rows(plan.slot("rows")),
        prefill(*plan.phase("prefill")),
        decode(*plan.phase("decode")),
        score(plan.phase("score")) {}

  const size_t tokens, ids, logits;  // buffers
  const size_t seq, past, rows;      // symbols
  const Phase &prefill, &decode;
  const Phase *const score;  // none in some plans
};

}  // namespace pocket
