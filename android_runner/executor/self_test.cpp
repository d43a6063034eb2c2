#include "executor/self_test.h"

#include <algorithm>
#include <cmath>

#include "base/vectors.h"

namespace pocket {
namespace {

constexpr double SHARE = 1.0 / 64;  // of its size, that what is written may be wrong by
constexpr double STEPS = 4096;      // of its size: how finely sums are told

const BoundDispatch *bound_to(const Step &step, const BoundPhase &phase) {
  const auto in = [&](const std::vector<BoundDispatch> &all) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const BoundDispatch &each) {
      return each.step == &step && each.variant;
    });
    return found == all.end() ? nullptr : &*found;
  };
  const BoundDispatch *found = in(phase.dispatches);
  for (const std::vector<BoundDispatch> &inside : phase.gathered)
    if (!found) found = in(inside);
  return found;
}

// Pairs of a slot and an index: the table's last ones, backwards, in slots that take turns.
std::vector<int32_t> ticket_of(const TestedInside &inside, int64_t count) {
  std::vector<int32_t> words(static_cast<size_t>(TICKET_HEAD + 2 * count));
  words[0] = static_cast<int32_t>(inside.records);
  words[1] = 1;  // sums begin
  for (int64_t i = 0; i < inside.records; ++i) {
    const auto at = static_cast<size_t>(TICKET_HEAD + 2 * i);
    words[at] = static_cast<int32_t>(i % inside.slots);
    words[at + 1] = static_cast<int32_t>(count - 1 - i);
  }
  return words;
}

}  // namespace

// A plan, or a kernel, that was edited computes what its editor wants.
SelfTest::SelfTest(const Plan &plan, const Device &device, const Memory &memory,
                       Programs &programs, PhaseRunner &runner)
    : plan_(plan),
      device_(device),
      memory_(memory),
      programs_(programs),
      runner_(runner),
      tests_(plan.programs.size()) {
  for (const KernelTest &test : plan.tests) {
    if (plan.edited || !runner.phases()[test.phase].phase || follows_edited(test)) continue;
    for (const Variant &variant : step_of(test).variants)
      if (!tests_[variant.program] && !is_edited(variant)) tests_[variant.program] = &test;
  }
}

bool SelfTest::is_edited(const Variant &variant) const {
  return plan_.files[plan_.programs[variant.program].file].edited;
}

// What an edited kernel leaves tells nothing of the one that reads it.
bool SelfTest::follows_edited(const KernelTest &test) const {
  for (std::optional<size_t> before = test.after; before; before = plan_.tests[*before].after)
    for (const Variant &variant : step_of(plan_.tests[*before]).variants)
      if (is_edited(variant)) return true;
  return false;
}

void SelfTest::run() {
  for (BoundPhase &phase : runner_.phases()) {
    if (!phase.phase) continue;
    std::vector<int64_t> symbols = smallest_symbols(plan_, *phase.phase);
    for (BoundDispatch &dispatch : phase.dispatches) test(phase, dispatch, symbols);
    symbols.push_back(0);  // of grids inside of gathers: records of a launch
    for (std::vector<BoundDispatch> &inside : phase.gathered)
      for (BoundDispatch &dispatch : inside) test(phase, dispatch, symbols);
  }
  if (launched_) memory_.clear(device_);
}

bool SelfTest::untested(const BoundDispatch &dispatch) const {
  const size_t program = dispatch.variant->program;
  return tests_[program] && !programs_.rejected(program) && !programs_.proven(program);
}

void SelfTest::test(BoundPhase &phase, BoundDispatch &dispatch,
                    const std::vector<int64_t> &symbols) {
  if (!dispatch.kernel) return;
  if (untested(dispatch)) judge(dispatch.variant->program);
  while (programs_.rejected(dispatch.variant->program)) {
    runner_.choose_anew(phase, dispatch, symbols);
    if (untested(dispatch)) judge(dispatch.variant->program);
  }
}

void SelfTest::judge(size_t program) {
  const KernelTest &test = *tests_[program];
  const Step &step = step_of(test);
  const auto is_of = [&](const Variant &each) { return each.program == program; };
  const auto variant = std::find_if(step.variants.begin(), step.variants.end(), is_of);
  if ((test.after && !left_by(*test.after)) || !launched(test, *variant)) return;
  const std::string wrong = differences(test);
  if (wrong.empty()) return programs_.prove(program);
  check_weights(test);
  programs_.reject(program,
                   "builds " + programs_.name(program) + " wrong: for " + step.name + wrong);
}

// Damaged weights make right kernels look wrong, and so would the driver be blamed in every plan.
void SelfTest::check_weights(const KernelTest &test) {
  for (const Argument &argument : step_of(test).args) {
    if (argument.kind != Argument::Weight) continue;
    const size_t file = plan_.weights[argument.index].file;
    if (whole_.insert(file).second) check_content(plan_, file);
  }
  if (test.after) check_weights(plan_.tests[*test.after]);
}

// Memory as it is after an earlier test, whose program was tested before.
bool SelfTest::left_by(size_t test) {
  const KernelTest &before = plan_.tests[test];
  const BoundPhase &phase = runner_.phases()[before.phase];
  const BoundDispatch *found = bound_to(step_of(before), phase);
  return found && (!before.after || left_by(*before.after)) && launched(before, *found->variant);
}

bool SelfTest::launched(const KernelTest &test, const Variant &variant) {
  const Step &step = step_of(test);
  cl::Owned<cl::Kernel> kernel;
  if (!runner_.variants().try_variant(variant, step.args.size(), kernel).empty()) return false;
  if (memory_.make_images(plan_, device_, step, variant) != 0) return false;
  hand_over(test);
  const PhaseRunner::Handed before = runner_.hand_over({ticket_.get(), slots_.get(), rule_.get()});
  BoundDispatch dispatch =
      runner_.bind_variant(step, {&variant, std::move(kernel)}, runner_.phases()[test.phase]);
  runner_.hand_over(before);
  std::vector<int64_t> symbols = test.symbols;
  if (test.inside) symbols.push_back(test.inside->records);
  for (size_t axis = 0; axis < variant.global.size(); ++axis)
    dispatch.global[axis] = extent(variant.global[axis], symbols);
  const std::vector<cl::Int> words = symbol_words(plan_, test.symbols);
  device_.write(memory_.symbols(), 0, words.data(), 4 * words.size());
  fill(test);
  launched_ = true;
  programs_.risk(
      Journal::Launch, variant.program,
      "launching " + step.name + " for the first time: " + programs_.name(variant.program));
  const bool taken = runner_.pace().launch(device_.queue(dispatch.queue), dispatch) == 0;
  runner_.pace().flush();
  device_.wait();
  programs_.journal().done();
  return taken;
}

// A ticket, slots and a rule of its own, of a gather.
void SelfTest::hand_over(const KernelTest &test) {
  if (!test.inside) return;
  const GatherStep &gather = *plan_.phases[test.phase].steps[test.step].gather;
  const Table &table = plan_.tables[gather.table];
  const std::vector<int32_t> ticket = ticket_of(*test.inside, table.count);
  const auto bytes = static_cast<size_t>(test.inside->slots * table.bytes);
  ticket_ = device_.buffer(sizeof(int32_t) * ticket.size(), "a ticket of a test");
  slots_ = device_.buffer(bytes, "the slots of a test");
  rule_ = device_.buffer(sizeof(int32_t) * RULE_INTS, "the rule of a test");
  device_.write(ticket_.get(), 0, ticket.data(), sizeof(int32_t) * ticket.size());
  device_.fill_zero(slots_.get(), bytes);
}

void SelfTest::fill(const KernelTest &test) const {
  for (const Fill &each : test.fills) {
    Place place = place_of(test, each.runs.arg);
    if (!each.dtype.empty()) place.dtype = each.dtype;
    const auto count = static_cast<size_t>(each.runs.count);
    const size_t width = static_cast<size_t>(dtype_size(place.dtype));
    const int64_t first = each.runs.arg * 65537 + each.runs.first * 40503;
    for (int64_t row = 0; row < each.runs.rows; ++row) {
      const auto seed = static_cast<uint32_t>(first + row * each.runs.count);
      std::string bytes = drawn(place.dtype, count, seed, each.low, each.span);
      for (size_t i = 0; i < each.words.size() && width == 4; ++i) {
        const auto word = static_cast<int32_t>(each.words[i]);
        bytes.replace(4 * i, 4, reinterpret_cast<const char *>(&word), 4);
      }
      const auto start = static_cast<size_t>(each.runs.first + row * each.runs.stride);
      device_.write(place.memory, width * start, bytes.data(), bytes.size());
    }
  }
}

// Empty where it computed what it should.
std::string SelfTest::differences(const KernelTest &test) const {
  for (const Expected &each : test.expected) {
    const Place place = place_of(test, each.runs.arg);
    const std::array<double, SUMS> sums = sums_of(place.dtype, read(test, each.runs));
    double squares = 0;
    for (size_t i = 0; i < SUMS; ++i) {
      const double unit = each.size > 0 ? each.size / STEPS : 1 / PARTS;
      const double apart = sums[i] - static_cast<double>(each.sums[i]) * unit;
      squares += apart * apart / SUMS;
    }
    const double error = std::sqrt(squares), most = SHARE * each.size;
    if (error <= most) continue;
    const double percent = 100 * error / each.size;
    const std::string share =
        percent < 1000 ? std::to_string(std::lround(percent)) + " % off" : "something else";
    return " its argument " + std::to_string(each.runs.arg) + " is " + share;
  }
  return "";
}

std::string SelfTest::read(const KernelTest &test, const Runs &runs) const {
  const Place place = place_of(test, runs.arg);
  const auto width = static_cast<size_t>(dtype_size(place.dtype));
  const size_t bytes = width * static_cast<size_t>(runs.count);
  std::string found(bytes * static_cast<size_t>(runs.rows), '\0');
  for (int64_t row = 0; row < runs.rows; ++row) {
    const auto start = static_cast<size_t>(runs.first + row * runs.stride);
    device_.read(place.memory, width * start, &found[bytes * static_cast<size_t>(row)], bytes);
  }
  return found;
}

SelfTest::Place SelfTest::place_of(const KernelTest &test, size_t arg) const {
  const Argument &argument = step_of(test).args[arg];
  const BoundPhase &phase = runner_.phases()[test.phase];
  if (argument.kind == Argument::Symbols) return {memory_.symbols(), "i32"};
  if (argument.kind == Argument::Ticket) return {ticket_.get(), "i32"};
  if (argument.kind == Argument::Slots) return {slots_.get(), "u32"};
  if (argument.kind == Argument::Rule) return {rule_.get(), "i32"};
  if (argument.kind == Argument::Buffer)
    return {memory_.buffer(argument.index), plan_.buffers[argument.index].dtype};
  return {phase.scratch[argument.index].get(), phase.phase->scratch[argument.index].dtype};
}

}  // namespace pocket
