// Tables and points of plan.json. toolkit/plan/checks/tables.py refuses the same.
#include "plan/tables.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "plan/json_node.h"
#include "plan/words.h"

namespace pocket {
namespace {

constexpr int64_t SLOT_ALIGN = 64, ABREAST = 8, PART_ALIGN = 16, FLOATS_ALIGN = 32;  // of records
constexpr int64_t MOST_RECORDS = 1 << 24, MOST_NUMBERS = 1 << 28, MOST_BYTES = int64_t{1} << 31;
constexpr size_t MOST_TABLES = 4096, MOST_POINTS = 64;
constexpr int64_t MOST_WINDOW = 4096, MOST_TILES = 64;  // steps; places in staging
constexpr int64_t MOST_READ = 1 << 28, MOST_THREADS = 64;
constexpr int64_t MOST_AT_ONCE = 1 << 28;  // bytes that threads read together

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// By its numbers; 0 where there are no such records.
int64_t part_bytes(const TablePart &part) {
  const bool plain = !part.group && !part.zero;
  if (part.dtype == "f16" && plain) return round_up(2 * part.length, PART_ALIGN);
  if (part.dtype == "f32" && plain) return round_up(4 * part.length, FLOATS_ALIGN);
  if (part.dtype == "u32" && plain) return round_up(4 * part.length, PART_ALIGN);
  if (part.dtype == "u8" && plain) return round_up(part.length, PART_ALIGN);
  if (!GROUPS.count(part.group)) return 0;
  if (part.dtype == "q8")
    return round_up(round_up(part.length, part.group) / part.group *
                        (part.group + (part.zero ? 8 : 4)),
                    PART_ALIGN);
  if (part.dtype != "e0m4") return 0;
  const int64_t groups = round_up(part.length, ABREAST * part.group) / part.group;
  return round_up(groups * (part.group / 2 + 2 + (part.zero ? 1 : 0)), PART_ALIGN);
}

TablePart read_part(const Node &node, const std::vector<TablePart> &earlier) {
  TablePart part{node.at("name").text(), node.at("offset").bytes(), node.at("bytes").bytes(),
                 node.at("dtype").text(), node.at("length").integer(1, MOST_NUMBERS), 0, false};
  if (node.has("group")) part.group = node.at("group").integer(0, MOST_NUMBERS);
  if (node.has("zero")) part.zero = node.at("zero").boolean();
  if (part_bytes(part) == 0 || part.bytes != part_bytes(part))
    node.fail("its bytes are not those of so many numbers of " + part.dtype);
  for (const TablePart &other : earlier)
    if (other.name == part.name) node.fail(quote(part.name) + " stands there twice");
  if (part.offset % PART_ALIGN || (!earlier.empty() && part.offset < earlier.back().end()))
    node.at("offset").fail("inside of the part before, or no multiple of 16");
  return part;
}

void check_table_file(const Node &node, const Plan &plan, size_t index) {
  const std::string &path = plan.files[index].path;
  bool good = path.size() >= 4 && path.compare(path.size() - 4, 4, ".bin") == 0;
  for (const Weight &weight : plan.weights) good = good && weight.file != index;
  if (!good) node.fail(quote(path) + " is no file of tables");
}

// A weight of a number for each record; `weights` are the plan's, as they stand there.
size_t read_list(const Node &node, const char *dtype, const Node &weights, int64_t count) {
  const size_t index = node.index(weights.size(), "weights");
  const Node weight = weights.at(index), shape = weight.at("shape");
  if (weight.at("dtype").text() != dtype || shape.size() != 1 ||
      shape.at(size_t{0}).integer(INT64_MIN, INT64_MAX) != count)
    node.fail("the weight is no list of " + std::to_string(count) + " " + dtype);
  return index;
}

void check_place(const Node &node, const Table &table, const Plan &plan) {
  const int64_t end = table.offset + table.count * table.stride;
  if (table.bytes % SLOT_ALIGN || table.stride % SLOT_ALIGN || table.stride < table.bytes)
    node.at("stride").fail("records and their distance are multiples of 64 and don't overlap");
  if (table.offset % FLASH_PAGE) node.at("offset").fail("not a multiple of 4096");
  if (end > plan.files[table.file].bytes)
    node.fail("it ends at " + std::to_string(end) + ", after the end of " +
              plan.files[table.file].path);
  if (table.parts.empty()) node.at("parts").fail("records have no part");
  if (table.parts.back().end() > table.bytes)
    node.at("parts").fail("they end after the end of a record");
}

Table read_table(const Node &node, const Node &weights, const Plan &plan) {
  Table table{node.at("name").text(),
              node.at("kind").text(),
              node.at("count").integer(1, MOST_RECORDS),
              node.at("bytes").integer(1, MOST_BYTES),
              node.at("stride").integer(1, MOST_BYTES),
              node.at("file").index(plan.files.size(), "files"),
              node.at("offset").bytes(),
              {},
              {}};
  check_table_file(node.at("file"), plan, table.file);
  for (const Table &other : plan.tables)
    if (other.name == table.name) node.fail(quote(table.name) + " stands there twice");
  for (const Node &part : node.at("parts").items())
    table.parts.push_back(read_part(part, table.parts));
  check_place(node, table, plan);
  if (node.has("order")) table.order = read_list(node.at("order"), "i32", weights, table.count);
  if (node.has("importance"))
    table.importance = read_list(node.at("importance"), "f32", weights, table.count);
  return table;
}

std::vector<const GatherStep *> gathers_of(const Plan &plan) {
  std::vector<const GatherStep *> gathers;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.gather) gathers.push_back(step.gather.get());
  return gathers;
}

std::vector<int64_t> read_counts(const Node &node, size_t tables) {
  std::vector<int64_t> counts;
  for (const Node &count : node.items()) counts.push_back(count.integer(0, MOST_RECORDS));
  if (counts.size() != tables) node.fail("there are " + std::to_string(tables) + " tables");
  return counts;
}

// Of each table at most its records, of these the pinned ones, and of those the dense ones.
void read_memory(const Node &node, const std::vector<Table> &tables, Point &point) {
  point.slots = read_counts(node.at("slots"), tables.size());
  point.pinned = read_counts(node.at("pinned"), tables.size());
  point.dense = read_counts(node.at("dense"), tables.size());
  for (size_t i = 0; i < tables.size(); ++i)
    if (point.pinned[i] > point.slots[i] || point.slots[i] > tables[i].count)
      node.at("slots").at(i).fail("more than there are, or fewer than are pinned");
  for (size_t i = 0; i < tables.size(); ++i) node.at("dense").at(i).integer(0, point.pinned[i]);
}

// A record more than is selected must change no answer but by itself.
void check_dense(const Node &node, const Plan &plan, const Point &point) {
  for (const GatherStep *gather : gathers_of(plan)) {
    if (point.dense[gather->table] && counts_records(gather->select))
      node.at(gather->table).fail("a gather of the table selects so many, and no other one");
  }
}

// Of each table: steps that a cache begins with.
void read_window(const Node &node, size_t tables, Point &point) {
  if (node.size() && node.size() != tables)
    node.fail("there are " + std::to_string(tables) + " tables");
  for (const Node &steps : node.items()) point.window.push_back(steps.integer(1, MOST_WINDOW));
}

// A read takes at least one record, wherever in its first page this begins.
void check_reads(const Node &node, const std::vector<Table> &tables, const Point &point) {
  int64_t least = FLASH_PAGE;
  for (const Table &table : tables)
    least = std::max(least, round_up(table.bytes, FLASH_PAGE) + FLASH_PAGE);
  node.at("max_read").integer(least, std::max(least, MOST_READ));
  if (point.gap % FLASH_PAGE) node.at("gap").fail("not a multiple of 4096");
  if (point.max_read % FLASH_PAGE) node.at("max_read").fail("not a multiple of 4096");
}

// Of each prefetch: records that it reads, at most.
void read_ahead(const Node &node, const Plan &plan, Point &point) {
  std::vector<const Table *> tables;
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.prefetch) tables.push_back(&plan.tables[step.prefetch->table]);
  if (node.size() && node.size() != tables.size())
    node.fail("there are " + std::to_string(tables.size()) + " prefetches");
  for (size_t i = 0; i < node.size(); ++i)
    point.ahead.push_back(node.at(i).integer(0, tables[i]->count));
}

// A threshold for each gather, or how many it selects.
void read_selected(const Node &node, const Plan &plan, Point &point) {
  const std::vector<const GatherStep *> gathers = gathers_of(plan);
  if (node.size() != gathers.size())
    node.fail("there are " + std::to_string(gathers.size()) + " gathers");
  for (size_t i = 0; i < gathers.size(); ++i) {
    const double value = node.at(i).real();
    const Select &select = gathers[i]->select;
    const bool ids = select.by == Select::Ids;  // all for which there are places
    const auto count =
        static_cast<double>(ids ? select.k : plan.tables[gathers[i]->table].count);
    const bool whole = value == std::floor(value) && value >= (ids ? count : 1) && value <= count;
    if (counts_records(select) && !whole) node.at(i).fail("no number of its records");
    point.select.push_back(value);
  }
}

Point read_point(const Node &node, const Plan &plan) {
  Point point{};
  point.memory = node.at("memory").bytes();
  point.flash = node.has("flash") ? node.at("flash").real() : 1;
  point.predicted_s = node.has("predicted_s") ? node.at("predicted_s").real() : 0;
  if (point.flash <= 0 || point.flash > 1 || point.predicted_s < 0)
    node.fail("no speed of a flash, or no time of a token");
  read_memory(node, plan.tables, point);
  point.policy = node.at("policy").one_of(POLICIES);
  if (node.has("engine")) point.engine = node.at("engine").one_of(ENGINES);
  if (node.has("window")) read_window(node.at("window"), plan.tables.size(), point);
  point.gap = node.at("gap").integer(0, MOST_READ);
  point.max_read = node.at("max_read").bytes();
  check_reads(node, plan.tables, point);
  point.threads = node.at("threads").integer(1, MOST_THREADS);
  if (point.threads > 1 && point.threads * point.max_read > MOST_AT_ONCE)
    node.at("threads").fail("together they would read more than 256 MiB at once");
  point.cluster = node.at("cluster").integer(1, MOST_RECORDS);
  read_selected(node.at("select"), plan, point);
  check_dense(node.at("dense"), plan, point);
  if (node.has("ahead")) read_ahead(node.at("ahead"), plan, point);
  if (node.has("tiles")) point.tiles = node.at("tiles").integer(2, MOST_TILES);
  return point;
}

// By ascending bytes of a read.
std::vector<std::pair<int64_t, double>> read_rates(const Node &node) {
  std::vector<std::pair<int64_t, double>> rates;
  for (const Node &row : node.items()) {
    if (row.size() != 2) row.fail("no bytes of a read, and a second");
    const std::pair rate(row.at(size_t{0}).integer(1, MOST_READ), row.at(size_t{1}).real());
    if (rate.second <= 0 || (!rates.empty() && rates.back().first >= rate.first))
      row.fail("no rate, or of a smaller read than the one before");
    rates.push_back(rate);
  }
  return rates;
}

PlannedFlash read_planned(const Node &node) {
  PlannedFlash flash;
  flash.name = node.at("name").text();
  const auto number = [&](const char *key) { return node.has(key) ? node.at(key).real() : 0; };
  flash.alpha_s = number("alpha_s");
  flash.bytes_per_s = number("bytes_per_s");
  flash.latency_s = number("latency_s");
  if (node.has("random")) flash.random = read_rates(node.at("random"));
  if (node.has("sequential")) flash.sequential = read_rates(node.at("sequential"));
  const bool tables = !flash.random.empty() && !flash.sequential.empty();
  if (flash.alpha_s < 0 || flash.latency_s < 0 || flash.bytes_per_s < 0 ||
      tables == (flash.bytes_per_s > 0))
    node.fail("no time of a read");
  return flash;
}

}  // namespace

bool Point::operator==(const Point &other) const {
  const auto all = [](const Point &of) {
    return std::tie(of.memory, of.flash, of.slots, of.pinned, of.dense, of.policy, of.select, of.gap,
                    of.max_read, of.threads, of.cluster, of.window, of.ahead, of.tiles,
                    of.engine);
  };
  return all(*this) == all(other);
}

void read_flash_tables(const Node &root, Plan &plan) {
  if (!root.has("tables")) return;
  if (root.at("tables").size() > MOST_TABLES) root.at("tables").fail("there are too many");
  for (const Node &node : root.at("tables").items())
    plan.tables.push_back(read_table(node, root.at("weights"), plan));
}

void read_points(const Node &root, Plan &plan) {
  const size_t count = root.has("points") ? root.at("points").size() : 0;
  if ((count == 0) != plan.tables.empty())
    (root.has("points") ? root.at("points") : root).fail("tables and points go together");
  if (root.has("flash")) plan.flash = read_planned(root.at("flash"));
  if (count > MOST_POINTS) root.at("points").fail("there are too many");
  for (size_t i = 0; i < count; ++i) {
    const Node node = root.at("points").at(i);
    plan.points.push_back(read_point(node, plan));
    if (i == 0) continue;
    const Point &low = plan.points[i - 1], &high = plan.points[i];
    if (std::pair(low.memory, low.flash) >= std::pair(high.memory, high.flash))
      node.fail("it does not take more memory than the one before");
  }
}

}  // namespace pocket
