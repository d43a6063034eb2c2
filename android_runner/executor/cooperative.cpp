#include "executor/cooperative.h"

#include <algorithm>
#include <map>

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

class Steps : public Recorder {
 public:
  Steps(const Segment &segment, size_t groups, cl::Owned<cl::Kernel> kernel,
        cl::Owned<cl::Memory> table, cl::Owned<cl::Memory> meeting,
        std::map<cl::Memory, uint64_t> addresses)
      : segment_(segment),
        groups_(groups),
        kernel_(std::move(kernel)),
        table_(std::move(table)),
        meeting_(std::move(meeting)),
        addresses_(std::move(addresses)) {
    set(kernel_.get(), 0, table_.get());
    set(kernel_.get(), 2, meeting_.get());
  }

  void send(Profile *) override {
    if (stale_) write();
    if (count_) enqueue(segment_.queue, kernel_.get(), groups_);
  }

  void resize() override { stale_ = true; }

 private:
  // Which launches have nothing to do depends on their sizes; how much, the bodies see themselves.
  void write() {
    std::vector<uint64_t> words;
    count_ = 0;
    for (const BoundDispatch *dispatch = segment_.begin; dispatch != segment_.end; ++dispatch) {
      if (dispatch->empty()) continue;
      words.push_back(dispatch->variant->program);
      words.push_back(2 + dispatch->args.size());
      for (const cl::Memory memory : dispatch->args) words.push_back(addresses_.at(memory));
      ++count_;
    }
    if (count_)
      cl::check(cl::EnqueueWriteBuffer(segment_.queue, table_.get(), 1, 0, 8 * words.size(),
                                       words.data(), 0, nullptr, nullptr),
                "clEnqueueWriteBuffer");
    set(kernel_.get(), 1, count_);
    stale_ = false;
  }

  const Segment segment_;
  const size_t groups_;
  const cl::Owned<cl::Kernel> kernel_;
  const cl::Owned<cl::Memory> table_, meeting_;
  const std::map<cl::Memory, uint64_t> addresses_;
  cl::Int count_ = 0;
  bool stale_ = true;
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

std::vector<uint64_t> Cooperation::addresses(const std::vector<cl::Memory> &memories) const {
  const auto address = kernel("address");
  const auto found = device_.buffer(8 * memories.size(), "addresses");
  set(address.get(), 1, found.get());
  for (size_t i = 0; i < memories.size(); ++i) {
    set(address.get(), 0, memories[i]);
    set(address.get(), 2, static_cast<cl::Int>(i));
    enqueue(device_.queue(0), address.get(), 1);
  }
  return read<uint64_t>(device_.queue(0), found.get(), memories.size());
}

std::unique_ptr<Recorder> Cooperation::recorder(const Segment &segment) const {
  std::map<cl::Memory, uint64_t> known;
  size_t words = 0;
  for (const BoundDispatch *dispatch = segment.begin; dispatch != segment.end; ++dispatch) {
    words += 2 + dispatch->args.size();
    for (const cl::Memory memory : dispatch->args) known[memory] = 0;
  }
  std::vector<cl::Memory> memories;
  for (const auto &entry : known) memories.push_back(entry.first);
  const std::vector<uint64_t> found = addresses(memories);
  for (size_t i = 0; i < found.size(); ++i) known[memories[i]] = found[i];
  auto meeting = device_.buffer(4 * COUNTERS, "a counter");
  clear(segment.queue, meeting.get());
  return std::make_unique<Steps>(segment, device_.facts().compute_units, kernel("steps"),
                                 device_.buffer(8 * words, "the table of ops"), std::move(meeting),
                                 std::move(known));
}

}  // namespace pocket
