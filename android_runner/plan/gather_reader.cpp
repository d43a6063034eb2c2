// The step that gathers records of a table. toolkit/plan/checks/gathers.py refuses the same.
#include <algorithm>

#include "plan/select_reader.h"
#include "plan/words.h"

namespace pocket {
namespace {

// All of them, in their order: whole records are kept.
void check_parts(const Node &node, const Table &table) {
  if (node.size() != table.parts.size())
    node.fail(quote(table.name) + " has " + std::to_string(table.parts.size()) + " parts");
  for (size_t i = 0; i < node.size(); ++i)
    if (node.at(i).text() != table.parts[i].name)
      node.at(i).fail("this part of " + quote(table.name) + " is " + quote(table.parts[i].name));
}

// The plan's symbols, and how many records a ticket has.
Symbols with_records(Symbols symbols, const Table &table) {
  symbols.push_back({RECORDS, false, {0, table.count}});
  return symbols;
}

bool among(const Argument &argument, const std::vector<Argument::Kind> &kinds) {
  return std::find(kinds.begin(), kinds.end(), argument.kind) != kinds.end();
}

// What fills the ticket writes nothing else but the rule's count, and reads no other scratch than
// the gather selects by.
Step read_choose(const Node &node, const Context &outside, const GatherStep &gather, size_t queue) {
  const auto known = {Select::All, Select::Above, Select::Nonzero};
  if (gather.tile || std::find(known.begin(), known.end(), gather.select.by) == known.end())
    node.fail("only all of a table is one ticket, by all, above or nonzero");
  const Context context{outside.plan, outside.phase, outside.symbols, outside.box,
                        Context::Choosing};
  Step step = read_dispatch(node, context);
  if (step.queue != queue) node.at("queue").fail("the gather's is " + std::to_string(queue));
  if (queue != 0) node.at("queue").fail("the ticket is queue 0's");
  size_t tickets = 0;
  for (const size_t write : step.writes) {
    if (!among(step.args[write], {Argument::Ticket, Argument::Rule}))
      node.at("writes").fail("it writes the ticket and the rule, and these alone");
    tickets += step.args[write].kind == Argument::Ticket;
  }
  if (!tickets) node.at("writes").fail("it writes the ticket and the rule, and these alone");
  for (const Argument &each : step.args) {
    const bool source = gather.from && same(each, *gather.from);
    if (among(each, {Argument::Scratch, Argument::Buffer}) && !source)
      node.at("args").fail("it reads other memory than what the gather selects by");
  }
  return step;
}

// What is read before the rest lies in pages of its own, and says what else is needed.
void read_first(const Node &node, const Context &inside, const Table &table, size_t queue,
                GatherStep &gather) {
  const Node parts = node.at("parts");
  if (!parts.size() || parts.size() >= table.parts.size())
    parts.fail("they are not the first ones of several");
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts.at(i).text() != table.parts[i].name)
      parts.fail("this part of " + quote(table.name) + " is " + quote(table.parts[i].name));
    gather.first_bytes = table.parts[i].end();
  }
  const auto pages = [](int64_t bytes) { return (bytes + FLASH_PAGE - 1) / FLASH_PAGE; };
  if (table.stride % FLASH_PAGE || pages(gather.first_bytes) == pages(table.bytes))
    parts.fail("the rest of a record has no page of its own");
  if (gather.tile || counts_records(gather.select))
    node.fail("it leaves records of a tile, or of exactly so many");
  gather.first_select = read_select(node.at("select"), table);
  if (gather.first_select.by == Select::All || counts_records(gather.first_select))
    node.at("select").at("by").fail("it is no choice among some of them");
  for (const Node &dispatch : node.at("dispatches").items()) {
    gather.first.push_back(read_dispatch(dispatch, inside));
    if (gather.first.back().queue != queue)
      dispatch.at("queue").fail("the gather's is " + std::to_string(queue));
  }
  if (gather.first.empty()) node.at("dispatches").fail("nothing is computed of the first parts");
  const Node from = node.at("select").at("from");
  gather.first_from = read_source(from, inside, gather.first_select, table, queue, gather.first);
  if (!is_written(gather.first, *gather.first_from)) from.fail("none of its dispatches writes it");
}

size_t before(const Context &context, Step::Kind kind) {
  const auto among = [&](const Phase &phase) {
    return std::count_if(phase.steps.begin(), phase.steps.end(),
                         [&](const Step &step) { return step.kind == kind; });
  };
  auto count = among(context.phase);
  for (const Phase &phase : context.plan.phases) count += among(phase);
  return static_cast<size_t>(count);
}

bool touches(const Step &step, const Argument &memory) {
  return std::any_of(step.args.begin(), step.args.end(),
                     [&](const Argument &each) { return same(each, memory); });
}

// What may be left out writes scratch, and nobody else looks at that.
void check_alone(const Node &node, const Phase &phase, size_t number) {
  for (const Step &dispatch : phase.steps[number].prefetch->dispatches)
    for (const size_t write : dispatch.writes)
      for (size_t i = 0; i < phase.steps.size(); ++i)
        if (dispatch.args[write].kind != Argument::Scratch ||
            (i != number && touches(phase.steps[i], dispatch.args[write])))
          node.fail("they write what others see, and may be left out");
}

void check_behind(const Node &node, const Phase &phase, size_t number) {
  const PrefetchStep &own = *phase.steps[number].prefetch;
  std::vector<size_t> gathers;
  for (size_t i = number + 1; i < phase.steps.size() && gathers.size() < 2; ++i)
    if (phase.steps[i].gather) gathers.push_back(i);
  const auto gather = [&](size_t i) -> const GatherStep & { return *phase.steps[gathers[i]].gather; };
  if (gathers.size() < 2 || gather(0).table == own.table || gather(1).table != own.table)
    node.at("table").fail("the second gather behind it is of another one");
  if (gathers[0] != number + 1 || phase.steps[gathers[0]].queue != phase.steps[number].queue)
    node.fail("no gather of its queue comes right behind it");
  const Select &rule = gather(1).select;
  if (rule.by != Select::Above || rule.magnitude != own.select.magnitude)
    node.fail("the gather that it reads for selects otherwise");
}

}  // namespace

Step read_gather(const Node &node, const Context &outside) {
  const Plan &plan = outside.plan;
  const size_t number = node.at("table").index(plan.tables.size(), "tables");
  const Table &table = plan.tables[number];
  Step step{Step::Gather, node.at("queue").index(QUEUES, "the queues"), node.at("name").text(),
            {}, {}};
  check_parts(node.at("parts"), table);
  GatherStep gather{number, read_select(node.at("select"), table), {}, 0,
                    before(outside, Step::Gather),
                    {}};
  if (gather.select.by != Select::All) {
    gather.from = read_source(node.at("select").at("from"), outside, gather.select, table,
                              step.queue);
    step.args.push_back(*gather.from);
  }
  if (node.has("tile"))
    gather.tile = static_cast<size_t>(node.at("tile").integer(0, table.count));
  const Symbols symbols = with_records(plan.symbols, table);
  Box box = outside.phase.box;
  box.push_back(symbols.back().range);
  if (node.has("choose"))
    gather.choose.push_back(read_choose(node.at("choose"), outside, gather, step.queue));
  if (node.has("whole")) gather.whole = node.at("whole").boolean();
  const Select &select = gather.select;
  const bool always = select.by == Select::All || (select.by == Select::Ids && select.k == 1);
  if (gather.whole && (!gather.choose.empty() || gather.tile || table.order || !always))
    node.at("whole").fail("the ticket is not always that of the whole table");
  const Context inside{plan, outside.phase, symbols, box, Context::InGather};
  for (const Node &dispatch : node.at("dispatches").items()) {
    gather.dispatches.push_back(read_dispatch(dispatch, inside));
    if (gather.dispatches.back().queue != step.queue)
      dispatch.at("queue").fail("the gather's is " + std::to_string(step.queue));
    const std::vector<Argument> &args = gather.dispatches.back().args;
    step.args.insert(step.args.end(), args.begin(), args.end());
  }
  if (gather.dispatches.empty()) node.at("dispatches").fail("nothing is computed of the records");
  if (node.has("first")) read_first(node.at("first"), inside, table, step.queue, gather);
  for (const Step &each : gather.first)
    step.args.insert(step.args.end(), each.args.begin(), each.args.end());
  if (node.has("unit")) gather.unit = read_unit(node.at("unit"), inside, table, gather.dispatches);
  step.gather = std::make_shared<const GatherStep>(std::move(gather));
  return step;
}

Step read_prefetch(const Node &node, const Context &context) {
  const size_t number = node.at("table").index(context.plan.tables.size(), "tables");
  const Table &table = context.plan.tables[number];
  Step step{Step::Prefetch, node.at("queue").index(QUEUES, "the queues"), node.at("name").text(),
            {}, {}};
  PrefetchStep prefetch{number, read_select(node.at("select"), table), {}, 0, 0, {}};
  if (prefetch.select.by != Select::Above)
    node.at("select").at("by").fail("it selects too much to read it early");
  for (const Node &dispatch : node.at("dispatches").items()) {
    prefetch.dispatches.push_back(read_dispatch(dispatch, context));
    if (prefetch.dispatches.back().queue != step.queue)
      dispatch.at("queue").fail("the prefetch's is " + std::to_string(step.queue));
    const std::vector<Argument> &args = prefetch.dispatches.back().args;
    step.args.insert(step.args.end(), args.begin(), args.end());
  }
  prefetch.from = read_source(node.at("select").at("from"), context, prefetch.select, table,
                              step.queue, prefetch.dispatches);
  step.args.push_back(prefetch.from);
  prefetch.gather = before(context, Step::Gather) + 1;  // the second one behind it
  prefetch.number = before(context, Step::Prefetch);
  step.prefetch = std::make_shared<const PrefetchStep>(std::move(prefetch));
  return step;
}

void check_prefetches(const Node &steps, const Phase &phase) {
  for (size_t i = 0; i < phase.steps.size(); ++i) {
    if (!phase.steps[i].prefetch) continue;
    check_behind(steps.at(i), phase, i);
    check_alone(steps.at(i).at("dispatches"), phase, i);
  }
}

}  // namespace pocket
