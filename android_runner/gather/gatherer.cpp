#include "gather/gatherer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/json.h"
#include "base/os.h"
#include "gather/changing.h"
#include "offload/flash_tables.h"
#include "offload/points.h"

namespace pocket {
namespace {

constexpr size_t MOST_USED = 64;  // points that are told of: a budget may change without end

// Up to the last one that a record comes to: a driver may map on the host as much as it is asked.
int64_t filled_slots(const Change &change) {
  int32_t count = 0;
  for (const Placed &each : change.admitted) count = std::max(count, each.slot + 1);
  return count;
}

FlashModel costless() { return {0, std::numeric_limits<double>::infinity()}; }

Overlap overlap_called(const std::string &word) {
  if (word == "cluster") return Overlap::Cluster;
  if (word == "matrix") return Overlap::Matrix;
  if (word == "off") return Overlap::Off;
  throw Failure("--overlap " + word, "it is cluster, matrix or off", "--overlap cluster");
}

// Of each prefetch: the table of the gather right behind it, within which it runs.
std::vector<size_t> tables_behind(const Plan &plan) {
  std::vector<size_t> tables;
  for (const Phase &phase : plan.phases)
    for (size_t i = 0; i < phase.steps.size(); ++i)
      if (phase.steps[i].prefetch) tables.push_back(phase.steps[i + 1].gather->table);
  return tables;
}

}  // namespace

Gatherer::Gatherer(const Plan &plan, const Device &device, const GatherOptions &options)
    : plan_(plan),
      device_(device),
      point_(choose_point(plan, options.memory)),
      planned_(plan.flash ? FlashModel(*plan.flash) : options.imitated),
      overlap_word_(options.overlap),
      engine_word_(options.engine),
      overlap_(overlap_called(options.overlap)),
      automatic_(options.automatic),
      mapped_(options.mapped),
      machine_(plan.tables, orders_of(plan), options.imitated.value_or(costless()),
               importance_of(plan)),
      warm_(plan, options.warm),
      memory_(plan, point_, device),
      second_(plan, device),
      store_(plan, options.imitated ? RecordStore::Way::Cached : RecordStore::Way::Storage),
      pool_(store_, static_cast<size_t>(point_.threads), point_.max_read, options.imitated),
      first_(plan, machine_, memory_, pool_),
      read_ahead_(pool_),
      behind_(tables_behind(plan)),
      ahead_(plan, machine_, memory_, pool_, read_ahead_, overlap_,
             [this](size_t table) { return is_open(table); }),
      governor_(speeds_of(plan), {options.memory, point_.flash}) {
  second_.use(engine_of(point_), memory_.shares);
  if (!options.trace.empty()) trace_ = std::make_unique<AccessTrace>(options.trace);
  open(warm_.read());
  seen_s_ = pool_.reading_s();
}

Engines Gatherer::engine_of(const Point &point) const {
  return engine_called(engine_word_.empty() ? point.engine : engine_word_);
}

void Gatherer::open(const RecordLists &warm) {
  const std::vector<Change> opening = machine_.change(point_, warm);
  opening_.resize(opening.size());
  for (size_t i = 0; i < opening.size(); ++i) {
    warm_records_ += static_cast<int64_t>(opening[i].admitted.size() -
                                          opening[i].resize.admitted.size());
    if (trace_ && !warm.empty()) trace_->open(plan_.tables[i], static_cast<int64_t>(i), opening[i]);
    open_table(i, opening[i]);
  }
}

void Gatherer::settle_whole() {
  for (size_t i = 0; i < opening_.size(); ++i)
    if (point_.pinned[i] == plan_.tables[i].count) settle(i);
}

bool Gatherer::keep_warm() const {
  return step_ < 0 || point_.policy == "static" || warm_.write(machine_);
}

void Gatherer::begin_run(const std::vector<const GatherStep *> &gathers, int64_t taken) {
  if (!rehearsed_) {
    selected_ += taken;
    hits_ += taken;
  }
  ahead_.begin(gathers, ++step_);
}

bool Gatherer::use(int64_t memory) {
  const Point point = possible(memory, point_.flash);
  governor_.use(memory);
  automatic_ = false;
  const bool changed = go_on(point, memory);
  seen_s_ = pool_.reading_s();  // what was read for it isn't a token's
  return changed;
}

bool Gatherer::govern(int64_t tokens) {
  note_tokens(tokens);
  const double until = pool_.reading_s(), predicted = std::exchange(predicted_s_, 0);
  if (!governor_.observe(tokens, predicted, until - std::exchange(seen_s_, until))) return false;
  const std::optional<Governor::Choice> found = governor_.decide(room());
  const std::optional<Point> point = found ? wanted(*found) : std::nullopt;
  const bool changed = point && go_on(*point, found->budget);
  seen_s_ = pool_.reading_s();
  return changed;
}

// The points of another speed may need more memory than there is: then it stays where it is.
std::optional<Point> Gatherer::wanted(const Governor::Choice &choice) {
  try {
    return possible(choice.budget, choice.flash);
  } catch (const Failure &) {
    governor_.stay({point_.memory, point_.flash});
    return std::nullopt;
  }
}

// What the system has to give, and what the run has of it already; where it follows that.
std::optional<int64_t> Gatherer::room() const {
  if (!automatic_) return std::nullopt;
  const int64_t held = point_.memory - (memory_.shares ? unwritten_bytes() : 0);
  return std::max(budget_from(available_bytes() + held - mapped_), least_memory(plan_));
}

// Of slots that no record has come to: the system hasn't given their pages yet.
int64_t Gatherer::unwritten_bytes() const {
  int64_t bytes = 0;
  for (size_t i = 0; i < plan_.tables.size(); ++i) {
    const auto resident = static_cast<int64_t>(machine_.cache(i).resident().size());
    bytes += (point_.slots[i] - resident) * plan_.tables[i].bytes;
  }
  return bytes;
}

void Gatherer::note_tokens(int64_t tokens) {
  for (Used &used : used_)
    if (used.memory == point_.memory && used.flash == point_.flash && used.policy == point_.policy) {
      used.tokens += tokens;
      return;
    }
  if (used_.size() == MOST_USED) used_.erase(used_.begin());
  used_.push_back({point_.memory, point_.flash, point_.policy, tokens});
}

void Gatherer::imitate(const FlashModel &flash) {
  if (!pool_.imitates())
    throw Failure("no flash is imitated", "reads take as long as the storage does",
                  "start it with --flash PROFILE");
  pool_.imitate(flash);
}

Point Gatherer::possible(std::optional<int64_t> memory, double flash) const {
  Point point = choose_point(plan_, memory, flash);
  check_slots(plan_, point, device_);
  second_.check(engine_of(point), memory_.shares);
  return point;
}

bool Gatherer::go_on(const Point &point, std::optional<int64_t> memory) {
  if (point == point_) return false;
  settle_all();
  read_ahead_.settle();
  machine_.forget_ahead();
  device_.wait();  // launches look at slots, and at what was streamed
  second_.use(engine_of(point), memory_.shares);  // before records have places: it may be refused
  const std::vector<Change> changes = machine_.change(point);
  refit(point, changes);
  point_ = point;
  if (trace_) trace_->write(step_, memory, point, changes);
  read_pinned(changes);
  return true;
}

// Records have places already that memory may not have got: what fails then, fails for good.
void Gatherer::refit(const Point &point, const std::vector<Change> &changes) {
  whole_or_lost([&] {
    for (size_t i = 0; i < changes.size(); ++i)
      move_records(plan_.tables[i], changes[i].resize, memory_.slots[i], device_);
    memory_.resize(plan_, point, device_);
    pool_.refit(static_cast<size_t>(point.threads), point.max_read);
  });
}

// Those of tables behind one that can't be read are in no slot either.
void Gatherer::read_pinned(const std::vector<Change> &changes) {
  size_t read = 0;
  try {
    for (; read < changes.size(); ++read)
      pocket::read_pinned(plan_.tables[read], changes[read], memory_.slots[read], device_, pool_);
  } catch (const Failure &) {
    for (; read < changes.size(); ++read)
      machine_.lose(read, records_of(changes[read].resize.admitted));
    throw;
  }
}

// Where a driver maps no memory of a device, or has one queue, that is done before anything else.
void Gatherer::open_table(size_t number, const Change &change) {
  if (change.admitted.empty()) return;
  const Table &table = plan_.tables[number];
  const SharedMemory &slots = memory_.slots[number];
  std::unique_ptr<Filling> &filling = memory_.fillings[number];
  const int64_t bytes = filled_slots(change) * table.bytes;
  if (!memory_.shares) filling = Filling::begin(device_, slots.get(), bytes);
  if (!memory_.shares && !filling)
    return pocket::read_pinned(table, change, slots, device_, pool_, true);
  if (filling) mapped_slots_ += bytes;
  const uint64_t batch = pool_.submit_ahead(
      reads_of(table, change, filling ? filling->host() : slots.host()));
  opening_[number] = {batch, records_of(change.admitted)};
}

// What a table was opened with is there. Throws Failure; then none of it is.
void Gatherer::settle(size_t table) {
  const std::optional<Opening> opening = std::exchange(opening_[table], std::nullopt);
  if (!opening) return;
  const std::unique_ptr<Filling> filling = std::move(memory_.fillings[table]);
  try {
    pool_.wait(opening->batch);
    if (filling) filling->end();
  } catch (const Failure &) {
    machine_.lose(table, opening->records);
    throw;
  }
}

// The device has nothing to do but wait, as far as is known.
void Gatherer::await_opening(size_t table) {
  if (!opening_[table]) return;
  const double before = now();
  settle(table);
  waits_.waited_s += now() - before;
  waits_.stalled_s += now() - before;
}

// Nothing is decided of a table before: what can't be read then would have been taken for a hit.
bool Gatherer::is_open(size_t table) {
  if (opening_[table] && pool_.done(opening_[table]->batch)) settle(table);
  return !opening_[table];
}

void Gatherer::abandon() {
  settle_all();
  try {
    second_.abandon();
  } catch (const Failure &) {  // of a device that fails everywhere else, too
  }
  if (std::exchange(noted_.step, nullptr)) try {  // its numbers may be on their way
      noted_.read.wait();
    } catch (const Failure &) {  // of a device that fails everywhere else, too
    }
  ahead_.abandon(device_);
}

// Before reads are cancelled. What can't be read is in no slot, and one failure is enough to report.
void Gatherer::settle_all() {
  for (size_t i = 0; i < opening_.size(); ++i) try {
      settle(i);
    } catch (const Failure &) {
    }
}

Select Gatherer::rule_of(const GatherStep &gather) const {
  return at_point(gather.select, point_.select[gather.number]);
}

// The host waits here for the dispatch that wrote them, in its queue; the device does what it is
// given `meanwhile`.
std::vector<char> Gatherer::read_scores(const GatherStep &gather, cl::Queue queue,
                                        const SelectedBy &by,
                                        const std::function<void()> &meanwhile) const {
  if (!gather.from) return {};
  const bool ids = gather.select.by == Select::Ids;
  const int64_t count =
      ids ? std::min(rule_of(gather).k, by.count) : plan_.tables[gather.table].count;
  std::vector<char> scores(static_cast<size_t>(count) * sizeof(float));
  cl::Event read = nullptr;
  cl::check(cl::EnqueueReadBuffer(queue, by.memory, !meanwhile, 0, scores.size(), scores.data(), 0,
                                  nullptr, meanwhile ? &read : nullptr),
            "clEnqueueReadBuffer");
  if (!meanwhile) return scores;
  const cl::Owned<cl::Event> owned(read);
  try {
    meanwhile();
  } catch (...) {  // the numbers may be on their way
    cl::WaitForEvents(1, &read);
    throw;
  }
  cl::check(cl::WaitForEvents(1, &read), "clWaitForEvents");
  return scores;
}

void Gatherer::run(const Step &step, cl::Queue queue, const SelectedBy &by,
                   const UnitMemory &unit, const GatherLaunches &launch) {
  const GatherStep &gather = *step.gather;
  await_opening(gather.table);
  SecondEngine *const second = helps(gather) ? &second_ : nullptr;
  if (second) second->fetch(gather, unit, queue);
  std::function<void()> dense;
  const bool first = !rehearsed_ && !gather.first.empty();
  const bool device = !rehearsed_ && !(second && second->alone());
  if (device && !first && machine_.dense(gather.table, rule_of(gather)))
    dense = [&] {
      const GatherLaunch its = machine_.dense_launch(gather.table, rule_of(gather));
      first_.launch_resident(gather.table, its.records, queue, launch);
    };
  const std::vector<char> content = read_scores(gather, queue, by, dense);
  const auto *values = reinterpret_cast<const float *>(content.data());
  const auto *ids = reinterpret_cast<const int32_t *>(content.data());
  const size_t count = content.size() / sizeof(float);
  const bool by_ids = gather.select.by == Select::Ids;
  const Scores scores = by_ids ? Scores{nullptr, ids, count} : Scores{values, nullptr, 0};
  if (rehearsed_) return rehearse(gather, scores, queue, launch);
  std::optional<Glimpse> glimpse;
  std::vector<int32_t> left;
  if (first) {
    glimpse = machine_.glimpse(gather.table, rule_of(gather), scores, gather.first_bytes);
    const ReadWaits waits = first_.look(gather, *glimpse, queue, launch);
    waits_.waited_s += waits.waited_s;
    waits_.stalled_s += waits.stalled_s;
    left = first_.left_of(gather, *glimpse, queue, by.first);
    if (planned_) predicted_s_ += seconds_of(glimpse->runs, *planned_);
  }
  Gathering &own = ahead_.next(gather, scores, std::move(glimpse), std::move(left));
  if (dense || first) own.took_dense();
  const Gathered &found = own.found();
  selected_ += static_cast<int64_t>(found.selected.size());
  hits_ += static_cast<int64_t>(found.placed.hits.size());
  if (planned_) predicted_s_ += seconds_of(found.runs, *planned_);
  const auto number = static_cast<int64_t>(gather.number);  // tells the phase, too
  if (trace_) trace_->write(step_, number, found, values, by_ids ? 0 : count);
  const auto meanwhile = [this] { ahead_.read(); };
  const ReadWaits waits = own.conduct(queue, launch, second, meanwhile, [this] { read_ahead(); });
  waits_.waited_s += waits.waited_s;
  waits_.stalled_s += waits.stalled_s;
  taken_ += waits.taken * plan_.tables[gather.table].bytes;
  ahead_.ended();
}

int64_t Gatherer::reads_ahead(const PrefetchStep &prefetch) const {
  const auto whole = [&](size_t table) { return point_.pinned[table] == plan_.tables[table].count; };
  const bool none = whole(prefetch.table) || whole(behind_[prefetch.number]);
  return none || overlap_ == Overlap::Off || point_.ahead.empty() ? 0 : point_.ahead[prefetch.number];
}

void Gatherer::prefetch(const Step &step, cl::Queue queue, const SelectedBy &by) {
  if (rehearsed_) return;
  noted_.step = step.prefetch.get();
  noted_.scores.resize(static_cast<size_t>(plan_.tables[noted_.step->table].count));
  cl::Event read = nullptr;
  cl::check(cl::EnqueueReadBuffer(queue, by.memory, 0, 0, noted_.scores.size() * sizeof(float),
                                  noted_.scores.data(), 0, nullptr, &read),
            "clEnqueueReadBuffer");
  noted_.read = Ended(cl::Owned<cl::Event>(read));
}

// Not before the device has computed what it goes by.
void Gatherer::read_ahead() {
  if (!noted_.step) return;
  const PrefetchStep &step = *std::exchange(noted_.step, nullptr);
  noted_.read.wait();
  Select rule = step.select;
  rule.threshold = point_.select[step.gather];
  const Scores scores{noted_.scores.data(), nullptr, 0};
  const Ahead found = machine_.prefetch(step.table, rule, scores, step_, reads_ahead(step));
  if (trace_) trace_->write(step_, static_cast<int64_t>(step.table), found, noted_.scores);
  if (planned_) predicted_s_ += seconds_of(found.runs, *planned_);
  read_ahead_.begin(step.table, plan_.tables[step.table], found);
}

void Gatherer::rehearse(const GatherStep &gather, const Scores &scores, cl::Queue queue,
                        const GatherLaunches &launch) {
  Gathering own(plan_, gather.table, machine_, memory_, pool_, read_ahead_, overlap_,
                machine_.rehearse(gather.table, rule_of(gather), scores, gather.tile));
  try {
    own.conduct(queue, launch, nullptr, [] {});
  } catch (...) {  // a mode that can't be had: another one goes on
    own.settle();
    memory_.staging.forget();
    throw;
  }
}

// Launches that are compared must not see what still arrives.
void Gatherer::rehearse(bool on) {
  if (on) settle_all();
  rehearsed_ = on;
  if (!on) memory_.resident.forget();
  seen_s_ = pool_.reading_s();
}

bool Gatherer::is_resident(const GatherStep &gather) const {
  const RecordCache &cache = machine_.cache(gather.table);
  const auto count = static_cast<int32_t>(plan_.tables[gather.table].count);
  if (trace_ || !ResidentGathers::possible(plan_, gather)) return false;
  if (second_.alone() && second_.helps(gather)) return false;
  for (int32_t record = 0; record < count; ++record)
    if (cache.slot(record) != record) return false;
  return point_.pinned[gather.table] == count;
}

std::string Gatherer::facts() const {
  return Record()
      .add("memory", point_.memory)
      .add("slot_bytes", GatherMemory::bytes(plan_, point_, memory_.shares) + mapped_slots_)
      .add_flag("direct", store_.direct())
      .text();
}

std::string Gatherer::counts() const {
  const IoCounts io = pool_.counts();
  const int64_t chosen = memory_.resident.chosen();
  std::string sizes;
  for (const auto &[bytes, reads] : io.sizes)
    sizes += (sizes.empty() ? "" : ", ") + quote(std::to_string(bytes)) + ": " + std::to_string(reads);
  std::string points;
  for (const Used &used : used_)
    points += (points.empty() ? "" : ", ") + Record()
                                                 .add("memory", used.memory)
                                                 .add("flash", used.flash)
                                                 .add("policy", used.policy)
                                                 .add("tokens", used.tokens)
                                                 .text();
  return Record()
      .add("memory", point_.memory)
      .add("record_bytes", slot_bytes(plan_, point_.slots))
      .add_flag("direct", store_.direct())
      .raw("overlap", quote(overlap_word_))
      .raw("engine", second_.counts())
      .add("selected", selected_ + chosen)
      .add("hits", hits_ + chosen)
      .add("reads", io.reads)
      .add("read_bytes", io.read)
      .add("used_bytes", io.used + taken_)
      .add("ahead_reads", io.ahead_reads)
      .add("ahead_bytes", io.ahead_read)
      .add("left", first_.left())
      .add("spared_bytes", first_.spared())
      .add("warm_records", warm_records_)
      .raw("read_sizes", "{" + sizes + "}")
      .add("waited_s", waits_.waited_s)
      .add("stalled_s", waits_.stalled_s)
      .add("imitated_s", io.imitated_s)
      .add("late_s", io.late_s)
      .add("late_share", io.late_share)
      .raw("points_used", "[" + points + "]")
      .text();
}

}  // namespace pocket
