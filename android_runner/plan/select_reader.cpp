#include "plan/select_reader.h"

#include <algorithm>
#include <set>

#include "plan/words.h"
#include "sizes/bounds.h"

namespace pocket {
namespace {

constexpr int64_t MOST_IDS = 1 << 24;  // of a gather; they may come several times

const std::map<std::string, Select::By> SELECTORS = {{"all", Select::All},
                                                     {"above", Select::Above},
                                                     {"top", Select::Top},
                                                     {"nonzero", Select::Nonzero},
                                                     {"ids", Select::Ids}};

bool writes(const Step &step, const Argument &memory) {
  return step.kind == Step::Dispatch &&
         std::any_of(step.writes.begin(), step.writes.end(),
                     [&](size_t write) { return same(step.args[write], memory); });
}

// Other queues than the step's that may still write it.
std::set<size_t> unwaited(const Phase &phase, const Argument &memory, size_t queue) {
  std::set<size_t> queues;
  for (const Step &step : phase.steps) {
    if (step.kind == Step::Wait) queues.erase(step.queue);
    else if (writes(step, memory)) queues.insert(step.queue);
  }
  queues.erase(queue);
  return queues;
}

// That it has whatever the symbols are; the shape has been checked.
int64_t least_elements(const Scratch &scratch, const Box &box) {
  Expr product = {{Token::Number, 1}};
  for (const Expr &size : scratch.shape) {
    product.push_back({Token::Number, bounds(size, box)->low});
    product.push_back({Token::Mul, 0});
  }
  return evaluate(product, {}).value_or(0);
}

// All ids that there are in a run, at most k.
void check_ids(const Node &node, const Context &context, const Select &select,
               const std::vector<Expr> &shape, const std::string &dtype, const std::string &name) {
  Expr product = {{Token::Number, 1}};
  for (const Expr &size : shape) {
    product.insert(product.end(), size.begin(), size.end());
    product.push_back({Token::Mul, 0});
  }
  const std::optional<Bounds> elements = bounds(product, context.phase.box);
  if (dtype != "i32" || !elements || elements->high > select.k)
    node.fail(std::to_string(select.k) + " of i32 are read, and " + quote(name) + " has others");
}

// Numbers for all indices of the table, or ids, which a dispatch has written; it may be among `own`.
void check_scratch(const Node &node, const Context &context, const Select &select,
                   const Table &table, const Argument &from, size_t queue,
                   const std::vector<Step> &own) {
  const Scratch &scratch = context.phase.scratch[from.index];
  if (select.by == Select::Ids)
    check_ids(node, context, select, scratch.shape, scratch.dtype, scratch.name);
  else if (scratch.dtype != "f32" || least_elements(scratch, context.phase.box) < table.count)
    node.fail(std::to_string(table.count) + " of f32 are read, and " + quote(scratch.name) +
              " has others");
  if (!is_written(context.phase.steps, from) && !is_written(own, from))
    node.fail("no dispatch before it writes " + quote(scratch.name));
  if (!unwaited(context.phase, from, queue).empty())
    node.fail("another queue writes " + quote(scratch.name) + ", and nothing waits for it");
}

// Ids that it has; the host writes by queue 0.
void check_buffer(const Node &node, const Context &context, const Select &select,
                  const Argument &from, size_t queue) {
  const Buffer &buffer = context.plan.buffers[from.index];
  check_ids(node, context, select, buffer.shape, buffer.dtype, buffer.name);
  if (queue != 0 || !unwaited(context.phase, from, queue).empty())
    node.fail("not only queue " + std::to_string(queue) + " writes " + quote(buffer.name));
}

}  // namespace

bool is_written(const std::vector<Step> &steps, const Argument &memory) {
  return std::any_of(steps.begin(), steps.end(),
                     [&](const Step &step) { return writes(step, memory); });
}

Select read_select(const Node &node, const Table &table) {
  std::set<std::string> known;
  for (const auto &entry : SELECTORS) known.insert(entry.first);
  Select select;
  select.by = SELECTORS.at(node.at("by").one_of(known));
  if (node.has("threshold")) select.threshold = node.at("threshold").real();
  if (node.has("magnitude")) select.magnitude = node.at("magnitude").boolean();
  if (node.has("gamma")) select.gamma = node.at("gamma").real();
  if (select.gamma < 0 || select.gamma > 1) node.at("gamma").fail("not from 0 to 1");
  if (select.by == Select::Ids) select.k = node.at("k").integer(1, MOST_IDS);
  else if (counts_records(select)) select.k = node.at("k").integer(1, table.count);
  else if (node.has("k")) node.at("k").integer(0, 0);
  if ((select.by == Select::All) == node.has("from"))
    (node.has("from") ? node.at("from") : node)
        .fail("all records are selected by nothing, others by numbers");
  return select;
}

Argument read_source(const Node &node, const Context &context, const Select &select,
                     const Table &table, size_t queue, const std::vector<Step> &own) {
  std::set<std::string> kinds = {"scratch"};
  if (select.by == Select::Ids) kinds.insert("buffer");
  const bool scratch = node.at(size_t{0}).one_of(kinds) == "scratch";
  if (node.size() != 2) node.fail("expected 2 entries");
  if (scratch) {
    const size_t index = node.at(1).index(context.phase.scratch.size(), "the phase's scratch");
    check_scratch(node, context, select, table, {Argument::Scratch, index}, queue, own);
    return {Argument::Scratch, index};
  }
  const size_t index = node.at(1).index(context.plan.buffers.size(), "buffers");
  check_buffer(node, context, select, {Argument::Buffer, index}, queue);
  return {Argument::Buffer, index};
}

}  // namespace pocket
