#include "executor/cooperative.h"

#include <algorithm>

#include "base/failure.h"

namespace pocket {
namespace {

constexpr size_t COUNTERS = 64;  // ints; the step kernel keeps two, in cache lines of their own
constexpr cl::Int PATIENCE = 50'000'000;  // looks at a counter, which take some 50 ms

void set(cl::Kernel kernel, cl::Uint index, cl::Memory memory) {
  cl::check(cl::SetKernelArg(kernel, index, sizeof memory, &memory), "clSetKernelArg");
}

void set(cl::Kernel kernel, cl::Uint index, cl::Int value) {
  cl::check(cl::SetKernelArg(kernel, index, sizeof value, &value), "clSetKernelArg");
}

void enqueue(cl::Queue queue, cl::Kernel kernel, size_t groups) {
  const size_t local = 1;
  cl::check(
      cl::EnqueueNDRangeKernel(queue, kernel, 1, nullptr, &groups, &local, 0, nullptr, nullptr),
      "clEnqueueNDRangeKernel");
}

template <class T>
std::vector<T> read(cl::Queue queue, cl::Memory memory, size_t count) {
  std::vector<T> values(count);
  cl::check(cl::EnqueueReadBuffer(queue, memory, 1, 0, count * sizeof(T), values.data(), 0, nullptr,
                                  nullptr),
            "clEnqueueReadBuffer");
  return values;
}

void clear(cl::Queue queue, cl::Memory memory) {
  const cl::Int zero = 0;
  cl::check(cl::EnqueueFillBuffer(queue, memory, &zero, sizeof zero, 0, COUNTERS * sizeof zero, 0,
                                  nullptr, nullptr),
            "clEnqueueFillBuffer");
}

// A list of ops as the step kernel reads it.
struct OpTable {
  cl::Owned<cl::Memory> memory;
  cl::Int count = 0;
  bool stale = true;
};

class Steps : public Recorder {
 public:
  Steps(const Segment &segment, std::shared_ptr<Cooperation> cooperation)
      : segment_(segment),
        cooperation_(std::move(cooperation)),
        kernel_(cooperation_->kernel("steps")),
        meeting_(cooperation_->device().buffer(4 * COUNTERS, "a counter")) {
    clear(segment.queue, meeting_.get());
    set(kernel_.get(), 2, meeting_.get());
  }

  void send(Profile *) override {
    if (table_.stale) write(table_, {});
    launch(table_);
  }

  bool joins() const override { return true; }

  // A table for each of the arguments that they take in turn: to write one waits for what runs.
  void send_after(const std::vector<BoundDispatch> &first) override {
    std::vector<cl::Memory> given;
    for (const BoundDispatch &dispatch : first)
      if (!dispatch.empty()) given.insert(given.end(), dispatch.args.begin(), dispatch.args.end());
    OpTable &table = joined_[given];
    if (table.stale) write(table, first);
    launch(table);
  }

  void forget() override {
    joined_.clear();
    cooperation_->forget();
  }

  void resize() override {
    table_.stale = true;
    for (auto &entry : joined_) entry.second.stale = true;
  }

 private:
  void launch(const OpTable &table) const {
    if (!table.count) return;
    set(kernel_.get(), 0, table.memory.get());
    set(kernel_.get(), 1, table.count);
    enqueue(segment_.queue, kernel_.get(), cooperation_->device().facts().compute_units);
  }

  // Which launches have nothing to do depends on their sizes; how much, the bodies see themselves.
  void write(OpTable &table, const std::vector<BoundDispatch> &first) const {
    std::vector<uint64_t> words;
    size_t most = 0;
    table.count = 0;
    for (const BoundDispatch &dispatch : first) most += add(dispatch, table, words);
    for (const BoundDispatch *dispatch = segment_.begin; dispatch != segment_.end; ++dispatch)
      most += add(*dispatch, table, words);
    table.stale = false;
    if (!table.memory) table.memory = cooperation_->device().buffer(8 * most, "the table of ops");
    if (words.empty()) return;
    cl::check(cl::EnqueueWriteBuffer(segment_.queue, table.memory.get(), 1, 0, 8 * words.size(),
                                     words.data(), 0, nullptr, nullptr),
              "clEnqueueWriteBuffer");
  }

  // Answers how many words it takes where it isn't empty.
  size_t add(const BoundDispatch &dispatch, OpTable &table, std::vector<uint64_t> &words) const {
    const size_t taken = 2 + dispatch.args.size();
    if (dispatch.empty()) return taken;
    cooperation_->learn(dispatch.args);
    words.push_back(dispatch.variant->program);
    words.push_back(taken);
    for (const cl::Memory memory : dispatch.args) words.push_back(cooperation_->address(memory));
    ++table.count;
    return taken;
  }

  const Segment segment_;
  const std::shared_ptr<Cooperation> cooperation_;
  const cl::Owned<cl::Kernel> kernel_;
  const cl::Owned<cl::Memory> meeting_;
  OpTable table_;
  std::map<std::vector<cl::Memory>, OpTable> joined_;
};

}  // namespace

std::string cannot_cooperate(const DeviceFacts &facts) {
  if (!(facts.type & cl::TYPE_CPU)) return "the device is no CPU";
  if (facts.compute_units > 1 && facts.platform_name != "Portable Computing Language")
    return "only of PoCL it is known that work-groups run side by side";
  return "";
}

cl::Owned<cl::Kernel> Cooperation::kernel(const char *name) const {
  cl::Int code = 0;
  cl::Owned<cl::Kernel> made(cl::CreateKernel(program_, name, &code));
  cl::check(code, "clCreateKernel");
  return made;
}

bool Cooperation::side_by_side() const {
  const size_t groups = device_.facts().compute_units;
  const auto meet = kernel("side_by_side");
  const auto arrived = device_.buffer(4 * COUNTERS, "a counter");
  const auto met = device_.buffer(4 * groups, "work-groups that met");
  clear(device_.queue(0), arrived.get());
  set(meet.get(), 0, arrived.get());
  set(meet.get(), 1, met.get());
  set(meet.get(), 2, PATIENCE);
  enqueue(device_.queue(0), meet.get(), groups);
  const auto all = read<cl::Int>(device_.queue(0), met.get(), groups);
  return std::count(all.begin(), all.end(), 1) == static_cast<long>(groups);
}

void Cooperation::learn(const std::vector<cl::Memory> &memories) {
  std::vector<cl::Memory> unknown;
  for (const cl::Memory memory : memories)
    if (!addresses_.count(memory)) unknown.push_back(memory);
  if (unknown.empty()) return;
  const auto address = kernel("address");
  const auto found = device_.buffer(8 * unknown.size(), "addresses");
  set(address.get(), 1, found.get());
  for (size_t i = 0; i < unknown.size(); ++i) {
    set(address.get(), 0, unknown[i]);
    set(address.get(), 2, static_cast<cl::Int>(i));
    enqueue(device_.queue(0), address.get(), 1);
  }
  const auto words = read<uint64_t>(device_.queue(0), found.get(), unknown.size());
  for (size_t i = 0; i < unknown.size(); ++i) addresses_[unknown[i]] = words[i];
}

std::unique_ptr<Recorder> Cooperation::recorder(const Segment &segment) {
  std::vector<cl::Memory> memories;
  for (const BoundDispatch *dispatch = segment.begin; dispatch != segment.end; ++dispatch)
    memories.insert(memories.end(), dispatch->args.begin(), dispatch->args.end());
  learn(memories);
  return std::make_unique<Steps>(segment, shared_from_this());
}

}  // namespace pocket
