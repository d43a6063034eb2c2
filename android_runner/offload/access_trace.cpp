#include "offload/access_trace.h"

#include <cstdio>

#include "base/json.h"

namespace pocket {
namespace {

// A list in JSON, each item by `text`.
template <class Item, class Text>
std::string list_of(const std::vector<Item> &items, const Text &text) {
  std::string list;
  for (const Item &item : items) list += (list.empty() ? "" : ",") + text(item);
  return "[" + list + "]";
}

std::string pair_of(int64_t first, int64_t second) {
  return "[" + std::to_string(first) + "," + std::to_string(second) + "]";
}

std::string number(int64_t value) { return std::to_string(value); }
std::string real(double value) {
  char text[40];
  snprintf(text, sizeof text, "%.9g", value);
  return text;
}

std::string place_of(const Placed &each) { return pair_of(each.record, each.slot); }
std::string move_of(const Resize::Move &each) { return pair_of(each.record, each.to); }
std::string read_of(const FlashRun &run) { return pair_of(run.offset, run.bytes); }

}  // namespace

std::string trace_line(int64_t step, int64_t gather, const Gathered &found) {
  return "{\"t\":" + std::to_string(step) + ",\"g\":" + std::to_string(gather) +
         ",\"sel\":" + list_of(found.selected, number) +
         ",\"hit\":" + std::to_string(found.placed.hits.size()) +
         ",\"admit\":" + list_of(found.placed.admitted, place_of) +
         ",\"evict\":" + list_of(found.placed.evicted, number) +
         ",\"runs\":" + list_of(found.runs, read_of) + ",\"read\":" + std::to_string(found.read) +
         ",\"used\":" + std::to_string(found.used) +
         (found.ahead.empty() ? "" : ",\"ahead\":" + list_of(found.ahead, number)) +
         (found.always ? ",\"dense\":" + number(found.always) : "") +
         (found.glimpse ? ",\"first\":{\"left\":" + list_of(found.left, number) +
                              ",\"runs\":" + list_of(found.glimpse->runs, read_of) +
                              ",\"read\":" + number(found.glimpse->read) + "}"
                        : "") +
         "}";
}

std::string ahead_line(int64_t step, int64_t table, const Ahead &found) {
  return "{\"t\":" + std::to_string(step) + ",\"p\":" + std::to_string(table) +
         ",\"want\":" + list_of(found.records, number) + ",\"runs\":" + list_of(found.runs, read_of) +
         ",\"read\":" + std::to_string(found.read) + "}";
}

std::string change_line(int64_t step, std::optional<int64_t> budget, const Point &point,
                        const std::vector<Change> &changes) {
  const auto evicted = [](const Change &of) { return list_of(of.resize.evicted, number); };
  const auto moves = [](const Change &of) { return list_of(of.resize.moved, move_of); };
  const auto admitted = [](const Change &of) { return list_of(of.resize.admitted, place_of); };
  const auto runs = [](const Change &of) { return list_of(of.runs, read_of); };
  return "{\"t\":" + std::to_string(step) +
         ",\"budget\":" + (budget ? std::to_string(*budget) : "null") +
         ",\"memory\":" + std::to_string(point.memory) + ",\"flash\":" + real(point.flash) +
         ",\"slots\":" + list_of(point.slots, number) +
         ",\"pinned\":" + list_of(point.pinned, number) + ",\"policy\":" + quote(point.policy) +
         ",\"evict\":" + list_of(changes, evicted) + ",\"move\":" + list_of(changes, moves) +
         ",\"admit\":" + list_of(changes, admitted) + ",\"runs\":" + list_of(changes, runs) + "}";
}

void AccessTrace::write_line(const std::string &line) {
  const std::string whole = line + "\n";
  lines_.write(whole.data(), whole.size());
}

void AccessTrace::write(int64_t step, std::optional<int64_t> budget, const Point &point,
                        const std::vector<Change> &changes) {
  write_line(change_line(step, budget, point, changes));
}

std::string opening_line(const Table &table, int64_t number, const Change &opening) {
  Gathered found;
  for (const Placed &each : opening.admitted) found.selected.push_back(each.record);
  found.placed.admitted = opening.admitted;
  found.runs = opening.runs;
  for (const FlashRun &run : found.runs) found.read += run.bytes;
  found.used = static_cast<int64_t>(opening.admitted.size()) * table.bytes;
  return trace_line(-1, number, found);
}

void AccessTrace::open(const Table &table, int64_t number, const Change &opening) {
  write_line(opening_line(table, number, opening));
}

void AccessTrace::write(int64_t step, int64_t table, const Ahead &found,
                        const std::vector<float> &scores) {
  write_line(ahead_line(step, table, found));
  scores_.write(scores.data(), scores.size() * sizeof(float));
}

void AccessTrace::write(int64_t step, int64_t gather, const Gathered &found, const float *scores,
                        size_t count) {
  write_line(trace_line(step, gather, found));
  if (count) scores_.write(scores, count * sizeof(float));
}

}  // namespace pocket
