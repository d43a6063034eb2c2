// The buffers of a plan's texts, of one or a batch: their ids go in, new ids and logits come out.
// Ids of a batch are those of the first text, then those of the second, and so on: as many of each.
#pragma once
#include <vector>

#include "executor/executor.h"
#include "session/text_phases.h"

namespace pocket {

class TextBuffers {
 public:
  // Throws Failure where a buffer is too small for the phases that are loaded.
  TextBuffers(const Plan &plan, Executor &executor, const TextPhases &phases);

  size_t batch() const { return batch_; }
  // Of every text the tokens from the at-th on: what the next run feeds. Those of the first text.
  std::vector<cl::Int> feed(const std::vector<int64_t> &ids, size_t at, size_t count) const;
  void need_room_to_score() const;

  std::vector<int64_t> ids_at(int64_t position) const;  // one of each text
  // What a text was fed, for penalties; where the phase itself notes that, there is no need.
  void note(const std::vector<int64_t> &ids, size_t at, size_t count, int64_t past) const;
  // [batch, count, V] from row `first` on, of the `rows` that the last run left of each text.
  std::vector<float> logits(int64_t first, int64_t count, int64_t rows) const;

 private:
  void need_room_for(size_t buffer, int64_t items) const;

  const Plan &plan_;
  Executor &executor_;
  const TextPhases &phases_;
  const Roles &roles_;
  const size_t batch_;
};

}  // namespace pocket
