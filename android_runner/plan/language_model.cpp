// What a plan must have so that a text can be run: symbols, buffers, and phases for each piece.
// The Python executors' loader asks for the same (toolkit/plan/checks/language_model.py).
#include <algorithm>
#include <tuple>

#include "base/failure.h"
#include "plan/json_node.h"
#include "plan/phase_choice.h"

namespace pocket {
namespace {

// A text has one value of each scalar, a batch one `start` for each of its texts.
void need_symbols(const Node &node, const Plan &plan) {
  for (const char *name : {"seq", "past", "rows", "start"}) {
    size_t i = 0;
    while (i < plan.symbols.size() && plan.symbols[i].name != name) ++i;
    if (i == plan.symbols.size()) node.fail("a language model needs a symbol named " + quote(name));
    if (name == std::string("start"))
      node.at(i).at("length").integer(plan.model.batch, plan.model.batch);
    else if (plan.symbols[i].length) node.at(i).at("length").fail("it has one value");
  }
}

void need_buffer(const Node &root, const Plan &plan, const std::string &name, const char *dtype,
                 int64_t bytes) {
  size_t i = 0;
  while (i < plan.buffers.size() && plan.buffers[i].name != name) ++i;
  if (i == plan.buffers.size())
    root.at("buffers").fail("a language model needs a buffer named " + quote(name));
  const Node node = root.at("buffers").at(i);
  if (plan.buffers[i].dtype != dtype) node.at("dtype").fail("expected " + quote(dtype));
  if (plan.buffers[i].bytes < bytes)
    node.at("bytes").fail("a language model needs " + std::to_string(bytes));
}

void need_buffers(const Node &root, const Plan &plan, const PhaseChoice &choice) {
  const Model &model = plan.model;
  need_buffer(root, plan, "tokens", "i32", 4 * model.batch * model.prefill_chunk);
  need_buffer(root, plan, "ids", "i32", 4 * model.batch * (model.max_context + 1));
  need_buffer(root, plan, "logits", "f32", 0);
  const int64_t scored = choice.longest(plan.buffer("logits"), plan.symbol("rows"));
  int64_t logits = 4 * model.batch * model.vocab_size;
  if (__builtin_mul_overflow(logits, std::max<int64_t>(scored, 1), &logits)) logits = INT64_MAX;
  need_buffer(root, plan, "logits", "f32", logits);
}

// What a phase does not take of all pieces of a text; empty: nothing.
std::string lacking(const Plan &plan, const Phase &phase, int64_t seq, int64_t rows) {
  const std::tuple<const char *, int64_t, int64_t> needed[] = {
      {"seq", 1, seq}, {"past", 0, plan.model.max_context - 1}, {"rows", 1, rows}};
  for (const auto &[name, low, high] : needed) {
    const Range range = phase.box[plan.symbol(name)];
    if (range.low > low || range.high < high)
      return std::string(name) + " must include " + std::to_string(low) + " to " +
             std::to_string(high);
  }
  return "";
}

// One of the phases that give a buffer takes what all of them together must.
void need_pieces(const Node &node, const Plan &plan, const std::vector<const Phase *> &phases,
                 int64_t seq, int64_t rows) {
  std::string lack;
  for (const Phase *phase : phases) {
    lack = lacking(plan, *phase, seq, rows);
    if (lack.empty()) return;
  }
  node.at(phases.back() - plan.phases.data()).at("bounds").fail(lack);
}

}  // namespace

void check_language_model(const Node &root, const Plan &plan) {
  need_symbols(root.at("symbols"), plan);
  const PhaseChoice choice(plan, all_phases(plan));
  need_buffers(root, plan, choice);
  const Node phases = root.at("phases");
  const auto choosing = choice.giving(plan.buffer("ids"));
  const auto scoring = choice.giving(plan.buffer("logits"));
  const int64_t chunk = plan.model.prefill_chunk;
  if (choosing.empty()) phases.fail("a language model needs a phase that gives (fetches) ids");
  need_pieces(phases, plan, choosing, chunk, 1);
  if (scoring.empty()) return;
  const int64_t scored = std::min(chunk, choice.longest(plan.buffer("logits"), plan.symbol("seq")));
  need_pieces(phases, plan, scoring, scored, scored);
}

}  // namespace pocket
