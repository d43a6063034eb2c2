// One phase of plan.json: its scratch memory and its steps.
#include <algorithm>

#include "sizes/bounds.h"
#include "plan/step_reader.h"
#include "plan/words.h"

namespace pocket {
namespace {

Box read_bounds(const Node &node, const Symbols &symbols, Box box) {
  for (const std::string &key : node.keys()) {
    const Node bound = node.at(key.c_str());
    size_t index = 0;
    while (index < symbols.size() && (symbols[index].name != key || symbols[index].length)) ++index;
    if (index == symbols.size()) bound.fail("there is no such symbol with one value");
    const int64_t low = bound.at(size_t{0}).integer(box[index].low, box[index].high);
    box[index] = {low, bound.at(1).integer(low, box[index].high)};
  }
  return box;
}

Scratch read_scratch(const Node &node, const Context &context) {
  Scratch scratch{node.at("name").text(), node.at("bytes").bytes(), node.at("offset").bytes(),
                  read_dtype(node.at("dtype")),
                  node.at("shape").expressions(context.plan.symbols)};
  const auto size = bounds(node.at("size").expression(context.plan.symbols), context.phase.box);
  if (!size || size->low < 0)
    node.at("size").fail("may be negative or undefined within the phase's bounds");
  if (scratch.bytes == 0) node.at("bytes").fail("an empty buffer");
  if (scratch.bytes < size->high)
    node.at("bytes").fail("the size is " + std::to_string(size->high) +
                          " bytes at the phase's bounds");
  const int64_t needed =
      dense_bytes(node.at("shape"), context.plan.symbols, context.phase.box, scratch.dtype);
  if (scratch.bytes < needed)
    node.at("bytes").fail("the shape takes " + std::to_string(needed) + " bytes");
  if (scratch.offset % context.plan.align)
    node.at("offset").fail("not a multiple of the profile's alignment, " +
                           std::to_string(context.plan.align));
  if (scratch.offset + scratch.bytes > context.phase.arena_bytes)
    node.at("offset").fail("the buffer ends after the arena's " +
                           std::to_string(context.phase.arena_bytes) + " bytes");
  return scratch;
}

// A built-in takes arguments of its kinds; none writes one or has parameters so far.
Step read_host_step(const Node &node, size_t queue, const Context &context) {
  std::set<std::string> known;
  for (const auto &entry : HOST_OPS) known.insert(entry.first);
  const std::string &op = node.at("op").one_of(known);
  const std::vector<std::string> &kinds = HOST_OPS.at(op);
  const Node args = node.at("args");
  if (args.size() != kinds.size())
    args.fail(op + " takes " + std::to_string(kinds.size()) + " arguments");
  for (size_t i = 0; i < kinds.size(); ++i) args.at(i).at(size_t{0}).one_of({kinds[i]});
  Step step{Step::Fetch, queue, "", {}, {}};
  read_arguments(node, context, step);
  if (node.has("writes") && node.at("writes").size())
    node.at("writes").fail(op + " writes nothing");
  if (node.has("params") && !node.at("params").keys().empty())
    node.at("params").fail(op + " has no parameters");
  return step;
}

Step read_step(const Node &node, const Context &context) {
  const std::string &kind = node.at("kind").one_of({"dispatch", "gather", "host", "prefetch", "wait"});
  if (kind == "dispatch") return read_dispatch(node, context);
  if (kind == "gather") return read_gather(node, context);
  if (kind == "prefetch") return read_prefetch(node, context);
  const size_t queue = node.has("queue") ? node.at("queue").index(QUEUES, "the queues") : 0;
  if (kind == "wait") return {Step::Wait, queue, "", {}, {}};
  return read_host_step(node, queue, context);
}

}  // namespace

std::vector<const Step *> dispatches_of(const Step &step) {
  std::vector<const Step *> found;
  if (step.kind == Step::Dispatch) found.push_back(&step);
  if (step.prefetch)
    for (const Step &each : step.prefetch->dispatches) found.push_back(&each);
  if (!step.gather) return found;
  for (const Step &each : step.gather->choose) found.push_back(&each);
  for (const Step &each : step.gather->dispatches) found.push_back(&each);
  for (const Step &each : step.gather->first) found.push_back(&each);
  return found;
}

std::vector<const Step *> Phase::dispatches() const {
  std::vector<const Step *> found;
  for (const Step &step : steps)
    for (const Step *each : dispatches_of(step)) found.push_back(each);
  return found;
}

Phase read_phase(const Node &node, const Plan &plan, const Box &box) {
  Phase phase{node.at("name").text(),
              node.at("graph").text(),
              read_bounds(node.at("bounds"), plan.symbols, box),
              node.at("recordable").boolean(),
              node.at("arena_bytes").bytes(),
              {},
              {},
              std::nullopt};
  const Context context{plan, phase, plan.symbols, phase.box};
  if (node.has("lower_bound_bytes")) node.at("lower_bound_bytes").bytes();
  for (const Node &entry : node.at("scratch").items())
    phase.scratch.push_back(read_scratch(entry, context));
  for (const Node &step : node.at("steps").items()) phase.steps.push_back(read_step(step, context));
  check_prefetches(node.at("steps"), phase);
  check_overlap(node, phase);
  if (node.has("cooperative"))
    phase.cooperative =
        node.at("cooperative").at("program").index(plan.programs.size(), "programs");
  return phase;
}

}  // namespace pocket
