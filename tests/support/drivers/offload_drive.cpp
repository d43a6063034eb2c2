// Replays a golden access trace (tests/support/offload_golden.py says what its lines hold): of each
// line but headers its inputs are given to the runner's machine, and what that decides is printed.
// Beside those: `prefetch`, records at most; and of a gather `glimpse`, bytes of a record that are
// read first; then every other one of these records is left.
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "base/json.h"
#include "offload/access_trace.h"

namespace {

using namespace pocket;

const Json &at(const Json &from, const char *key) { return *from.find(key); }

bool given(const Json &from, const char *key) {
  const Json *found = from.find(key);
  return found && found->kind != Json::Null;
}

double real(const Json &value) {
  return value.kind == Json::Integer ? static_cast<double>(value.integer) : value.real;
}

std::vector<int32_t> integers(const Json &list) {
  std::vector<int32_t> values;
  for (const Json &each : list.list) values.push_back(static_cast<int32_t>(each.integer));
  return values;
}

// Float32 of 64ths; null is NaN.
std::vector<float> floats(const Json &list) {
  std::vector<float> values;
  for (const Json &each : list.list)
    values.push_back(each.kind == Json::Null ? NAN : static_cast<float>(each.integer) / 64);
  return values;
}

Table table_of(const Json &from) {
  Table table{};
  table.count = at(from, "count").integer;
  table.bytes = at(from, "bytes").integer;
  table.stride = at(from, "stride").integer;
  table.offset = at(from, "offset").integer;
  return table;
}

Point point_of(const Json &from) {
  Point point{};
  point.policy = at(from, "policy").text;
  point.gap = at(from, "gap").integer;
  point.max_read = at(from, "max_read").integer;
  point.cluster = at(from, "cluster").integer;
  point.window = {at(from, "window").integer};
  point.dense = {given(from, "dense") ? at(from, "dense").integer : 0};
  return point;
}

Select select_of(const Json &from) {
  static const char *const words[] = {"all", "above", "top", "nonzero", "ids"};
  Select rule;
  for (int by = Select::All; by <= Select::Ids; ++by)
    if (at(from, "by").text == words[by]) rule.by = static_cast<Select::By>(by);
  rule.threshold = real(at(from, "threshold"));
  rule.magnitude = at(from, "magnitude").flag;
  rule.k = at(from, "k").integer;
  rule.gamma = real(at(from, "gamma"));
  return rule;
}

std::vector<FlashModel::Rate> rates_of(const Json &list) {
  std::vector<FlashModel::Rate> rates;
  for (const Json &row : list.list) rates.push_back({row.list[0].integer, real(row.list[1])});
  return rates;
}

FlashModel flash_of(const Json &from) {
  const double latency = real(at(from, "latency"));
  if (!given(from, "table"))
    return FlashModel(real(at(from, "alpha")), real(at(from, "beta")), latency);
  const Json &table = at(from, "table");
  return FlashModel(rates_of(at(table, "random")), rates_of(at(table, "sequential")), latency);
}

// A machine of one table, and the rule that its gathers go by.
struct Section {
  explicit Section(const Json &header)
      : tables{table_of(at(header, "table"))},
        point(point_of(at(header, "point"))),
        rule(select_of(at(header, "select"))),
        tile(static_cast<size_t>(at(header, "tile").integer)),
        machine(tables, {integers(at(header, "order"))}, flash_of(at(header, "flash")),
                {floats(at(header, "importance"))}) {}
  std::vector<Table> tables;
  Point point;
  Select rule;
  size_t tile;
  Machine machine;
};

std::string comma(const std::string &list) { return list.empty() ? "" : ","; }

std::string pair(int64_t first, int64_t second) {
  return "[" + std::to_string(first) + "," + std::to_string(second) + "]";
}

std::string list(const std::vector<int32_t> &values) {
  std::string text;
  for (const int32_t value : values) text += comma(text) + std::to_string(value);
  return "[" + text + "]";
}

std::string seconds(double value) {
  char text[40];
  snprintf(text, sizeof text, "%.17g", value);
  return text;
}

std::string resize(Section &section, const Json &line) {
  section.point.slots = {at(line, "resize").list[0].integer};
  section.point.pinned = {at(line, "resize").list[1].integer};
  const Change change = section.machine.change(section.point)[0];
  std::string moves, admits, runs;
  for (const Resize::Move &move : change.resize.moved)
    moves += comma(moves) + pair(move.record, move.to);
  for (const Placed &each : change.resize.admitted)
    admits += comma(admits) + pair(each.record, each.slot);
  for (const FlashRun &run : change.runs) runs += comma(runs) + pair(run.offset, run.bytes);
  return "{\"evict\":" + list(change.resize.evicted) + ",\"move\":[" + moves + "],\"admit\":[" +
         admits + "],\"runs\":[" + runs + "],\"seconds\":" + seconds(change.seconds) + "}";
}

std::string clusters(const Gathered &found) {
  std::string text;
  for (const Cluster &cluster : found.clusters) {
    std::vector<int32_t> counts;
    size_t staged = 0;
    for (const GatherLaunch &launch : cluster.launches)
      if (launch.staged) staged += launch.records.size();
      else counts.push_back(static_cast<int32_t>(launch.records.size()));
    text += comma(text) + "[" + std::to_string(cluster.runs) + "," + list(counts) + "," +
            std::to_string(staged) + "]";
  }
  return "[" + text + "]";
}

std::string gather(Section &section, const Json &line) {
  const auto values = given(line, "scores") ? floats(at(line, "scores")) : std::vector<float>();
  const auto ids = given(line, "ids") ? integers(at(line, "ids")) : std::vector<int32_t>();
  const int64_t step = at(line, "t").integer;
  const Scores scores{values.data(), ids.data(), ids.size()};
  std::optional<Glimpse> glimpse;
  if (given(line, "glimpse"))
    glimpse = section.machine.glimpse(0, section.rule, scores, at(line, "glimpse").integer);
  std::vector<int32_t> left;
  if (glimpse)
    for (size_t i = 0; i < glimpse->begun.records.size(); i += 2)
      left.push_back(glimpse->begun.records[i]);
  const Gathered found = section.machine.gather(0, section.rule, scores, step, section.tile,
                                                std::move(glimpse), std::move(left));
  std::string text = trace_line(step, 0, found);
  text.pop_back();
  return text + ",\"stream\":" + list(found.placed.streamed) + ",\"clusters\":" + clusters(found) +
         ",\"seconds\":" + seconds(found.seconds) + "}";
}

std::string prefetch(Section &section, const Json &line) {
  const std::vector<float> values = floats(at(line, "scores"));
  const int64_t step = at(line, "t").integer;
  const Ahead found = section.machine.prefetch(0, section.rule, {values.data(), nullptr, 0}, step,
                                               at(line, "prefetch").integer);
  std::string runs;
  for (const FlashRun &run : found.runs) runs += comma(runs) + pair(run.offset, run.bytes);
  return "{\"want\":" + list(found.records) + ",\"runs\":[" + runs + "]}";
}

}  // namespace

int main() {
  std::unique_ptr<Section> section;
  for (std::string text; std::getline(std::cin, text);) {
    const Json line = parse_json(text, "the trace");
    if (line.find("table")) section = std::make_unique<Section>(line);
    else if (line.find("prefetch")) puts(prefetch(*section, line).c_str());
    else puts((line.find("resize") ? resize(*section, line) : gather(*section, line)).c_str());
  }
  return 0;
}
