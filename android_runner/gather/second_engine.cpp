#include "gather/second_engine.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/failure.h"
#include "base/half.h"
#include "base/json.h"
#include "base/os.h"

namespace pocket {
namespace {

const std::pair<const char *, Engines> ENGINES[] = {
    {"device", Engines::Device}, {"threads", Engines::Threads}, {"both", Engines::Both}};

// Of two phases the first one's numbers are the device's, and so is what they are made for.
bool computable(const Plan &plan, const GatherStep &gather) {
  return gather.unit && gather.first.empty() && NeuronSums::knows(plan.tables[gather.table]);
}

bool has_computable(const Plan &plan) {
  for (const Phase &phase : plan.phases)
    for (const Step &step : phase.steps)
      if (step.gather && computable(plan, *step.gather)) return true;
  return false;
}

// Without a copy of it: the caller waits for the event.
cl::Event begin_read(cl::Queue queue, const UnitMemory::Numbers &from, std::vector<char> &bytes) {
  bytes.resize(from.count * (from.half ? sizeof(uint16_t) : sizeof(float)));
  cl::Event event = nullptr;
  cl::check(cl::EnqueueReadBuffer(queue, from.memory, 0, 0, bytes.size(), bytes.data(), 0, nullptr,
                                  &event),
            "clEnqueueReadBuffer");
  return event;
}

void to_floats(const std::vector<char> &bytes, bool half, std::vector<float> &floats) {
  floats.resize(bytes.size() / (half ? sizeof(uint16_t) : sizeof(float)));
  if (!half) memcpy(floats.data(), bytes.data(), bytes.size());
  const auto *const halves = reinterpret_cast<const uint16_t *>(bytes.data());
  if (half) std::transform(halves, halves + floats.size(), floats.begin(), from_half);
}

}  // namespace

Engines engine_called(const std::string &word) {
  for (const auto &[name, engine] : ENGINES)
    if (word == name) return engine;
  throw Failure("--engine " + word, "it is device, threads or both", "--engine device");
}

void SecondEngine::check(Engines engine, bool shares) const {
  if (engine != Engines::Device && !has_computable(plan_))
    throw Failure("threads compute nothing of this plan",
                  "it says of no gather what a record adds, or its records are of q8 or f32",
                  "--engine device; or compile the model again");
  if (engine == Engines::Threads && !shares)
    throw Failure("threads can't compute all that is in memory", "slots are memory of the device",
                  "--engine both");
}

void SecondEngine::use(Engines engine, bool shares) {
  check(engine, shares);
  if (engine != Engines::Device && !waves_) waves_ = std::make_unique<ThreadWaves>();
  engine_ = engine;
}

bool SecondEngine::helps(const GatherStep &gather) const {
  return engine_ != Engines::Device && computable(plan_, gather);
}

void SecondEngine::fetch(const GatherStep &gather, const UnitMemory &memory, cl::Queue queue) {
  const double before = now();
  abandon();
  gather_ = &gather;
  memory_ = memory;
  came_ = cl::Owned<cl::Event>(begin_read(queue, memory.x, x_));
  if (memory.given.memory) came_ = cl::Owned<cl::Event>(begin_read(queue, memory.given, given_));
  fetch_s_ += now() - before;
}

std::shared_ptr<const Wave> SecondEngine::launch(std::vector<WaveRecord> records) {
  if (!begun_) begin();
  records_ += static_cast<int64_t>(records.size());
  return waves_->launch(std::move(records));
}

void SecondEngine::begin() {
  const double before = now();
  const NeuronSums &neurons = sums_.try_emplace(gather_, plan_.tables[gather_->table],
                                                *gather_->unit).first->second;
  const auto count = static_cast<size_t>(plan_.tables[gather_->table].count);
  const cl::Event came = came_.get();
  cl::check(cl::WaitForEvents(1, &came), "clWaitForEvents");
  to_floats(x_, memory_.x.half, inputs_.x);
  to_floats(given_, memory_.given.half, inputs_.given);
  inputs_.rows = inputs_.x.size() / neurons.length();
  inputs_.gate_bias = bias(memory_.gate_bias, count);
  inputs_.up_bias = bias(memory_.up_bias, count);
  const bool given = !memory_.given.memory || inputs_.given.size() == inputs_.rows * count;
  const size_t sums = inputs_.rows * neurons.length();
  if (sums == 0 || inputs_.x.size() != sums || memory_.part.count % sums || !given)
    throw Failure("threads can't compute what a gather does", "its numbers are of other shapes",
                  "compile the model again, or --engine device");
  waves_->begin(neurons, inputs_);
  begun_ = true;  // not before: a failure must leave nothing to end
  fetch_s_ += now() - before;
}

// Weights don't change: each is read once.
const float *SecondEngine::bias(cl::Memory memory, size_t count) {
  if (!memory) return nullptr;
  std::vector<float> &found = biases_[memory];
  if (found.size() != count) {
    found.resize(count);
    device_.read(memory, 0, found.data(), count * sizeof(float));
  }
  return found.data();
}

void SecondEngine::end(cl::Queue queue, bool began) {
  if (!std::exchange(begun_, false)) return;
  const double before = now();
  const std::vector<float> sums = waves_->end();
  const double computed = now();
  part_.assign(began ? sums.size() : memory_.part.count, 0);
  if (began)
    cl::check(cl::EnqueueReadBuffer(queue, memory_.part.memory, 1, 0, part_.size() * sizeof(float),
                                    part_.data(), 0, nullptr, nullptr),
              "clEnqueueReadBuffer");
  for (size_t i = 0; i < sums.size(); ++i) part_[i] += sums[i];
  cl::check(cl::EnqueueWriteBuffer(queue, memory_.part.memory, 0, 0, part_.size() * sizeof(float),
                                   part_.data(), 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
  sent_ = Ended(queue);
  wait_s_ += computed - before;
  join_s_ += now() - computed;
}

void SecondEngine::abandon() {
  if (std::exchange(begun_, false)) waves_->end();
  sent_.wait();
  if (const cl::Event came = came_.get()) cl::check(cl::WaitForEvents(1, &came), "clWaitForEvents");
  came_ = {};
}

int64_t SecondEngine::bytes() const {
  size_t sum = x_.capacity() + given_.capacity() + (waves_ ? waves_->bytes() : 0);
  size_t floats = inputs_.x.capacity() + inputs_.given.capacity() + part_.capacity();
  for (const auto &[memory, bias] : biases_) floats += bias.capacity();
  sum += floats * sizeof(float);
  return static_cast<int64_t>(sum);
}

std::string SecondEngine::counts() const {
  const char *word = "";
  for (const auto &[name, engine] : ENGINES)
    if (engine == engine_) word = name;
  return Record()
      .add("name", word)
      .add("threads", waves_ ? static_cast<int64_t>(waves_->threads()) : 0)
      .add("records", records_)
      .add("bytes", bytes())
      .add("fetch_s", fetch_s_)
      .add("wait_s", wait_s_)
      .add("join_s", join_s_)
      .text();
}

}  // namespace pocket
