#include "executor/self_test.h"

#include <algorithm>

#include "base/agreement.h"
#include "base/vectors.h"

namespace pocket {
namespace {

constexpr size_t MOST_BYTES = 16 << 20;  // of an output: a KV cache of a long text is larger
constexpr uint32_t FLOATS = 0x3E003E00, ANY_FLOATS = 0x81FF81FF;  // also as pairs of halves

bool is_float(const std::string &dtype) { return dtype == "f32" || dtype == "f16"; }

}  // namespace

void SelfTest::run(const TestText &text) {
  if (!programs_.distrusts_driver()) return;
  const std::vector<size_t> references = this->references();
  if (references.empty()) return;
  programs_.build_ahead(references);
  for (BoundPhase &phase : runner_.phases())
    if (any(phase, &SelfTest::untested) || any(phase, &SelfTest::rejected)) test(phase, text);
  // What one phase finds wrong may be bound in one that was tested before it.
  for (bool again = true; again;) {
    again = false;
    for (BoundPhase &phase : runner_.phases()) {
      if (!any(phase, &SelfTest::rejected)) continue;
      test(phase, text);
      again = true;
    }
  }
  memory_.clear(device_);
  for (const auto &[program, other] : passed_)
    if (!programs_.rejected(program)) programs_.prove(program, other);
}

// The plainest variants' programs, of all dispatches that are to be tested.
std::vector<size_t> SelfTest::references() const {
  std::set<size_t> found;
  for (const BoundPhase &phase : runner_.phases())
    for (const BoundDispatch &dispatch : phase.dispatches)
      if (untested(dispatch)) found.insert(dispatch.step->variants.back().program);
  return {found.begin(), found.end()};
}

bool SelfTest::untested(const BoundDispatch &dispatch) const {
  return dispatch.kernel && dispatch.variant != &dispatch.step->variants.back() &&
         !programs_.rejected(dispatch.variant->program) &&
         !programs_.proven(dispatch.variant->program);
}

bool SelfTest::rejected(const BoundDispatch &dispatch) const {
  return dispatch.kernel && programs_.rejected(dispatch.variant->program);
}

bool SelfTest::any(const BoundPhase &phase, Question is) const {
  const std::vector<BoundDispatch> &all = phase.dispatches;
  return std::any_of(all.begin(), all.end(), [&](const auto &each) { return (this->*is)(each); });
}

void SelfTest::test(BoundPhase &phase, const TestText &text) {
  fill(text);
  run(phase, text.symbols(*phase.phase));
}

// States and float inputs hold numbers of a size that occurs, inputs of integers nothing but ids: a
// kernel may take the others for places in memory.
void SelfTest::fill(const TestText &text) const {
  memory_.clear(device_);
  for (size_t i = 0; i < plan_.buffers.size(); ++i)
    if (plan_.buffers[i].kind != "output" && is_float(plan_.buffers[i].dtype))
      fill(i, ANY_FLOATS, FLOATS);
  std::vector<uint32_t> ids(static_cast<size_t>(memory_.buffer_bytes(text.tokens)) / 4);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = hash(static_cast<uint32_t>(i)) % static_cast<uint32_t>(plan_.model.vocab_size);
  device_.write(memory_.buffer(text.tokens), 0, ids.data(), 4 * ids.size());
}

void SelfTest::fill(size_t buffer, uint32_t mask, uint32_t bits) const {
  const auto bytes = static_cast<size_t>(memory_.buffer_bytes(buffer));
  std::vector<uint32_t> words(std::min(bytes, MOST_BYTES) / 4);
  for (size_t i = 0; i < words.size(); ++i)
    words[i] = (hash(static_cast<uint32_t>(i)) & mask) | bits;
  if (!words.empty()) device_.write(memory_.buffer(buffer), 0, words.data(), 4 * words.size());
}

// Dispatch by dispatch, so that each one is tested on what those before it computed.
void SelfTest::run(BoundPhase &phase, const std::vector<int64_t> &symbols) {
  const std::vector<cl::Int> words = symbol_words(plan_, symbols);
  device_.write(memory_.symbols(), 0, words.data(), 4 * words.size());
  phase.resize(symbols);
  judged_.clear();
  for (BoundDispatch &dispatch : phase.dispatches) {
    if (!dispatch.kernel) continue;
    judge_once(phase, dispatch, symbols);
    while (rejected(dispatch)) {
      runner_.choose_anew(phase, dispatch, symbols);
      judge_once(phase, dispatch, symbols);
    }
    runner_.launch_or_replace(phase, dispatch, symbols);
    runner_.pace().flush();
    device_.wait();
  }
}

// Each program in each phase: of one position, or of several, it may go other ways.
void SelfTest::judge_once(const BoundPhase &phase, const BoundDispatch &dispatch,
                          const std::vector<int64_t> &symbols) {
  if (untested(dispatch) && judged_.insert(dispatch.variant->program).second)
    judge(phase, dispatch, symbols);
}

// Passes or rejects the program of a dispatch; neither where this phase gives it nothing to do.
void SelfTest::judge(const BoundPhase &phase, const BoundDispatch &dispatch,
                     const std::vector<int64_t> &symbols) {
  const Step &step = *dispatch.step;
  const size_t program = dispatch.variant->program;
  const std::vector<Output> changed = outputs(phase, step, false),
                            compared = outputs(phase, step, true);
  if (compared.empty()) passed_.emplace(program, "writes nothing that can be compared");
  if (compared.empty() || dispatch.empty()) return;
  const Contents before = read(changed), first = read(compared);
  if (!runner_.launched_alone(dispatch)) return;
  const Contents computed = read(compared);
  std::string others;
  bool same = false;
  for (auto other = step.variants.rbegin(); other != step.variants.rend() && !same; ++other) {
    BoundDispatch plain{};
    if (other->program == program || !runner_.prepare(phase, step, *other, symbols, plain)) continue;
    write(changed, before);
    if (!runner_.launched_alone(plain)) continue;
    const Contents expected = read(compared);
    same = true;
    for (size_t i = 0; i < compared.size(); ++i)
      same = same && agree(compared[i].dtype, first[i], expected[i], computed[i]);
    const std::string name = programs_.name(other->program);
    if (same) passed_.emplace(program, "computes as " + name);
    others += (others.empty() ? "" : " and ") + name;
  }
  write(changed, before);
  if (others.empty()) passed_.emplace(program, "is the only variant that runs here");
  else if (!same)
    programs_.reject(program, "builds " + programs_.name(program) + " wrong: for " + step.name +
                                  " it computes something else than " + others);
}

// What a dispatch writes, at most so much of each; or what of it can be compared. Integers in
// scratch memory may be in any order.
std::vector<SelfTest::Output> SelfTest::outputs(const BoundPhase &phase, const Step &step,
                                                bool compared) const {
  std::vector<Output> found;
  for (const size_t index : step.writes) {
    const Argument &arg = step.args[index];
    if (arg.kind == Argument::Symbols) {
      if (!compared) found.push_back({memory_.symbols(), "i32", 4 * plan_.slots()});
      continue;
    }
    const bool scratch = arg.kind == Argument::Scratch;
    const std::string &dtype =
        scratch ? phase.phase->scratch[arg.index].dtype : plan_.buffers[arg.index].dtype;
    const int64_t bytes =
        scratch ? phase.phase->scratch[arg.index].bytes : memory_.buffer_bytes(arg.index);
    if (compared && (!comparable(dtype) || (scratch && !is_float(dtype)))) continue;
    found.push_back({scratch ? phase.scratch[arg.index].get() : memory_.buffer(arg.index), dtype,
                     std::min(static_cast<size_t>(bytes), MOST_BYTES)});
  }
  return found;
}

SelfTest::Contents SelfTest::read(const std::vector<Output> &outputs) const {
  Contents contents;
  for (const Output &output : outputs) {
    contents.emplace_back(output.bytes, '\0');
    if (output.bytes) device_.read(output.memory, 0, &contents.back()[0], output.bytes);
  }
  return contents;
}

void SelfTest::write(const std::vector<Output> &outputs, const Contents &contents) const {
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].bytes)
      device_.write(outputs[i].memory, 0, contents[i].data(), outputs[i].bytes);
}

}  // namespace pocket
