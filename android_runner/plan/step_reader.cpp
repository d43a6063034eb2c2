// Dispatches of plan.json: their arguments, and the ways to launch them.
#include "plan/step_reader.h"

#include <algorithm>

#include "sizes/bounds.h"
#include "plan/words.h"

namespace pocket {
namespace {

const std::vector<Node> NONE;

const std::map<std::string, Argument::Kind> KINDS = {
    {"symbols", Argument::Symbols}, {"scratch", Argument::Scratch}, {"weight", Argument::Weight},
    {"buffer", Argument::Buffer},   {"ticket", Argument::Ticket},   {"slots", Argument::Slots},
    {"rule", Argument::Rule}};

// References by themselves, and where they mean something.
bool means_something(Argument::Kind kind, Context::Place place) {
  switch (kind) {
    case Argument::Ticket: return place != Context::Outside;
    case Argument::Slots: return place == Context::InGather;
    case Argument::Rule: return place == Context::Choosing;
    default: return true;
  }
}

Argument read_argument(const Node &node, const Context &context) {
  std::set<std::string> known;
  for (const auto &entry : KINDS) known.insert(entry.first);
  const std::string &kind = node.at(size_t{0}).one_of(known);
  const bool indexed = kind == "scratch" || kind == "weight" || kind == "buffer";
  const size_t size = indexed ? 2 : 1;
  if (node.size() != size) node.fail("expected " + std::to_string(size) + " entries");
  if (!means_something(KINDS.at(kind), context.place))
    node.fail("only dispatches of a gather have " + quote(kind));
  if (!indexed) return {KINDS.at(kind), 0};
  const Node index = node.at(1);
  if (kind == "scratch")
    return {Argument::Scratch, index.index(context.phase.scratch.size(), "the phase's scratch")};
  if (kind == "weight")
    return {Argument::Weight, index.index(context.plan.weights.size(), "weights")};
  return {Argument::Buffer, index.index(context.plan.buffers.size(), "buffers")};
}

void check_grid(const Node &node, const Variant &variant, const Box &box) {
  if (variant.global.empty() || variant.global.size() > 3)
    node.at("global").fail("expected one to three sizes");
  if (variant.local.size() != variant.global.size())
    node.at("local").fail("expected as many sizes as in global");
  for (size_t i = 0; i < variant.global.size(); ++i) {
    const auto range = bounds(variant.global[i], box);
    const Node size = node.at("global").at(i);
    if (!range || range->low < 0)
      size.fail("may be negative or undefined within the phase's bounds");
    if (range->high > UINT32_MAX) size.fail("more than 2^32 work-items");
    const int64_t local = static_cast<int64_t>(variant.local[i]);
    if (range->divisor % local) size.fail("not a multiple of the local size everywhere");
  }
}

Variant read_variant(const Node &node, const Context &context, const Step &step) {
  Variant variant{node.at("program").index(context.plan.programs.size(), "programs"),
                  node.at("global").expressions(context.symbols),
                  {},
                  {},
                  0};
  for (const Node &size : node.at("local").items()) variant.local.push_back(size.integer(1, 65536));
  for (const Node &feature : node.has("requires") ? node.at("requires").items() : NONE)
    variant.requires_.push_back(feature.one_of(FEATURES));
  if (node.has("local_bytes")) variant.local_bytes = node.at("local_bytes").integer(0, INT32_MAX);
  if (node.has("cut")) variant.cut = node.at("cut").index(variant.global.size(), "the axes");
  if (node.has("images"))
    variant.images = read_images(node.at("images"), context.plan, context.phase, step);
  const auto &needs = variant.requires_;
  if (!variant.images.empty() && std::find(needs.begin(), needs.end(), "images") == needs.end())
    node.at("requires").fail("it has images, and does not require them");
  check_grid(node, variant, context.box);
  return variant;
}

}  // namespace

void read_arguments(const Node &node, const Context &context, Step &step) {
  for (const Node &arg : node.at("args").items()) step.args.push_back(read_argument(arg, context));
  for (const Node &index : node.has("writes") ? node.at("writes").items() : NONE) {
    const size_t written = index.index(step.args.size(), "args");
    const Argument::Kind kind = step.args[written].kind;
    if (kind == Argument::Weight) index.fail("a weight can't be written");
    if (kind == Argument::Slots || (kind == Argument::Ticket && context.place != Context::Choosing))
      index.fail("what a gather hands over can't be written");
    step.writes.push_back(written);
  }
}

Step read_dispatch(const Node &node, const Context &context) {
  Step step{
      Step::Dispatch, node.at("queue").index(QUEUES, "the queues"), node.at("name").text(), {}, {}};
  node.at("writes");
  read_arguments(node, context, step);
  for (const Node &variant : node.at("variants").items())
    step.variants.push_back(read_variant(variant, context, step));
  if (node.has("microseconds")) step.microseconds = node.at("microseconds").integer(0, INT32_MAX);
  if (step.variants.empty()) node.at("variants").fail("a dispatch needs at least one variant");
  return step;
}

}  // namespace pocket
