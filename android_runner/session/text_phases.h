// Which of the phases that are loaded runs for a piece of a text.
#pragma once
#include "plan/phase_choice.h"
#include "session/roles.h"

namespace pocket {

class TextPhases {
 public:
  TextPhases(const Plan &plan, const std::vector<const Phase *> &loaded)
      : choice_(plan, loaded), roles_(plan), most_(plan.model.prefill_chunk), short_(plan.model.short_prompt) {}

  const Roles &roles() const { return roles_; }
  // So many tokens at a position: what chooses the next id, and what gives logits of every row.
  const Phase &choosing(int64_t count, int64_t past) const;
  const Phase &scoring(int64_t count, int64_t past) const;

  bool scores() const { return !choice_.giving(roles_.logits).empty(); }
  int64_t piece(int64_t tokens) const;  // of so many, those that `choosing` is fed with next
  int64_t choosing_chunk() const { return chunk(roles_.ids); }  // tokens at a time
  int64_t scoring_chunk() const { return chunk(roles_.logits); }

 private:
  const Phase &find(size_t buffer, int64_t count, int64_t past, int64_t rows) const;
  int64_t chunk(size_t buffer) const;

  const PhaseChoice choice_;
  const Roles roles_;
  const int64_t most_, short_;
};

}  // namespace pocket
