// The tests of plan.json: dispatches with made-up inputs, and what is known of their outputs.
#include <algorithm>

#include "base/vectors.h"
#include "plan/json_node.h"
#include "plan/words.h"

namespace pocket {
namespace {

constexpr int64_t MOST = 1 << 24;    // elements, and values that are made up
constexpr size_t MOST_TOLD = 4096;   // elements that are told one by one
constexpr size_t MOST_FOLLOWED = 8;  // tests, each of which follows the one before
constexpr int64_t MOST_FILLED = 64;  // slots
constexpr size_t PART_FILLS = 3;     // of a record's part: codes, scales, zero points

struct Tested {
  const Plan &plan;
  const Phase &phase;
  const Step &step;
  const Table *table;  // of a gather
  std::optional<TestedInside> inside;
};

// `dtype`: of slots.
int64_t elements_of(const Argument &argument, const Tested &tested, const std::string &dtype) {
  switch (argument.kind) {
    case Argument::Symbols: return static_cast<int64_t>(tested.plan.slots());
    case Argument::Rule: return RULE_INTS;
    case Argument::Ticket: return TICKET_HEAD + 2 * tested.table->count;
    case Argument::Slots:
      return tested.inside->slots * tested.table->bytes / dtype_size(dtype.empty() ? "u32" : dtype);
    case Argument::Buffer: {
      const Buffer &buffer = tested.plan.buffers[argument.index];
      return buffer.bytes / dtype_size(buffer.dtype);
    }
    default: break;
  }
  const Scratch &scratch = tested.phase.scratch[argument.index];
  return scratch.bytes / dtype_size(scratch.dtype);
}

Runs read_runs(const Node &node, const Tested &tested, const std::string &dtype = "") {
  const size_t arg = node.at("arg").index(tested.step.args.size(), "args");
  if (tested.step.args[arg].kind == Argument::Weight) node.at("arg").fail("a weight is as it is");
  const int64_t room = elements_of(tested.step.args[arg], tested, dtype);
  const auto read = [&](const char *key, int64_t low, int64_t high, int64_t usual) {
    return node.has(key) ? node.at(key).integer(low, high) : usual;
  };
  const int64_t first = read("first", 0, room, 0);
  const int64_t count = node.at("count").integer(1, std::min(MOST, room - first));
  const int64_t rows = read("rows", 1, MOST / count, 1);
  const int64_t stride = read("stride", 0, room, 0);
  if (rows > 1 && (stride < count || first + (rows - 1) * stride + count > room))
    node.at("rows").fail("the memory has only " + std::to_string(room) + " elements");
  return {arg, first, count, rows, stride};
}

Fill read_fill(const Node &node, const Tested &tested) {
  const std::string dtype = node.has("dtype") ? node.at("dtype").text() : "";
  const size_t arg = node.at("arg").index(tested.step.args.size(), "args");
  const Argument::Kind kind = tested.step.args[arg].kind;
  if (kind == Argument::Symbols || kind == Argument::Ticket)
    node.at("arg").fail("the test's symbols, and its ticket, say what they are");
  if (!dtype.empty() && (kind != Argument::Slots || !ELEMENT_BYTES.count(dtype)))
    node.at("dtype").fail("such numbers don't lie there");
  Fill fill{read_runs(node, tested, dtype), 0, 1, {}, dtype};
  if (node.has("low")) fill.low = node.at("low").integer(-MOST, MOST);
  if (node.has("span")) fill.span = node.at("span").integer(1, MOST);
  for (const Node &word : node.has("words") ? node.at("words").items() : std::vector<Node>())
    fill.words.push_back(word.integer(INT32_MIN, INT32_MAX));
  const size_t told = fill.words.size();
  if (told && (told > MOST_TOLD || static_cast<int64_t>(told) != fill.runs.count || fill.runs.rows > 1))
    node.at("words").fail("they are not as many as the elements");
  return fill;
}

Expected read_expected(const Node &node, const Tested &tested) {
  Expected expected{read_runs(node, tested), node.at("size").real(), {}};
  const std::vector<size_t> &writes = tested.step.writes;
  if (std::find(writes.begin(), writes.end(), expected.runs.arg) == writes.end())
    node.at("arg").fail("the dispatch doesn't write it");
  if (expected.size < 0) node.at("size").fail("it is negative");
  if (node.at("sums").size() != SUMS) node.at("sums").fail("there are other than 8");
  for (const Node &sum : node.at("sums").items())
    expected.sums.push_back(sum.integer(INT64_MIN, INT64_MAX));
  return expected;
}

// Within the phase's bounds; and of a text that has room for them.
std::vector<int64_t> read_symbols(const Node &node, const Plan &plan, const Phase &phase) {
  if (node.size() != plan.symbols.size()) node.fail("the plan has others");
  std::vector<int64_t> values;
  for (size_t i = 0; i < plan.symbols.size(); ++i)
    values.push_back(node.at(i).integer(phase.box[i].low, phase.box[i].high));
  const auto value = [&](const char *name) {
    const auto found = plan.find_symbol(name);
    return found ? values[*found] : 0;
  };
  const int64_t end = value("past") + value("seq");
  if (end > plan.model.max_context || value("rows") > value("seq") || value("start") > end)
    node.fail("no text has them");
  return values;
}

void check_number(const Node &node, size_t most) {
  if (node.size() > most) node.fail("there are too many");
}

void read_after(const Node &node, const Plan &plan, KernelTest &test) {
  test.after = node.index(plan.tests.size(), "the tests before it");
  if (plan.tests[*test.after].phase != test.phase) node.fail("it is of another phase");
  size_t count = 0;
  for (std::optional<size_t> before = test.after; before; before = plan.tests[*before].after)
    if (++count > MOST_FOLLOWED) node.fail("too many follow each other");
}

// The kernels have room for so many records, and they lie in slots.
TestedInside read_inside(const Node &node, const Step &step, const Table &table) {
  const GatherStep &gather = *step.gather;
  int64_t most = table.count;
  if (gather.select.by == Select::Ids) most = std::min(most, gather.select.k);
  if (gather.tile) most = std::min(most, static_cast<int64_t>(gather.tile));
  return {node.at("dispatch").index(dispatches_of(step).size(), "the gather's dispatches"),
          node.at("records").integer(0, most), node.at("slots").integer(1, MOST_FILLED)};
}

KernelTest read_test(const Node &node, const Plan &plan) {
  KernelTest test{node.at("phase").index(plan.phases.size(), "phases"), 0, {}, {}, {}};
  const Phase &phase = plan.phases[test.phase];
  test.step = node.at("step").index(phase.steps.size(), "steps");
  const Step &whole = phase.steps[test.step];
  const Table *table = whole.gather ? &plan.tables[whole.gather->table] : nullptr;
  if ((!table && whole.kind != Step::Dispatch) || (table != nullptr) != node.has("inside"))
    node.at("step").fail("it is no dispatch");
  if (table) test.inside = read_inside(node.at("inside"), whole, *table);
  const Step &step = tested_by(plan, test);
  const Tested tested{plan, phase, step, table, test.inside};
  const Node fills = node.at("fills"), expected = node.at("expected");
  check_number(fills, step.args.size() + (table ? PART_FILLS * table->parts.size() : 0));
  check_number(expected, 2 * step.args.size());
  test.symbols = read_symbols(node.at("symbols"), plan, phase);
  for (const Node &fill : fills.items()) test.fills.push_back(read_fill(fill, tested));
  for (const Node &each : expected.items()) test.expected.push_back(read_expected(each, tested));
  if (test.expected.empty()) expected.fail("any kernel passes a test of nothing");
  if (node.has("after")) read_after(node.at("after"), plan, test);
  return test;
}

}  // namespace

const Step &tested_by(const Plan &plan, const KernelTest &test) {
  const Step &step = plan.phases[test.phase].steps[test.step];
  return test.inside ? *dispatches_of(step)[test.inside->dispatch] : step;
}

void read_tests(const Node &node, Plan &plan) {
  size_t steps = 0;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps) steps += std::max<size_t>(1, dispatches_of(step).size());
  check_number(node, steps);  // a dispatch has one at most
  for (const Node &each : node.items()) plan.tests.push_back(read_test(each, plan));
}

}  // namespace pocket
