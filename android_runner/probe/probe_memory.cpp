// What a device holds: its limits as reported, and as found by trying.
#include <algorithm>
#include <numeric>

#include "base/failure.h"
#include "base/os.h"
#include "probe/probe.h"

namespace pocket {
namespace {

// Values from the OpenCL 1.2 and 2.0 specifications and their extensions.
enum : cl::Uint {
  DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
  DEVICE_IMAGE2D_MAX_WIDTH = 0x1011,
  DEVICE_IMAGE2D_MAX_HEIGHT = 0x1012,
  DEVICE_LOCAL_MEM_TYPE = 0x1022,
  DEVICE_IMAGE_MAX_BUFFER_SIZE = 0x1040,
  DEVICE_IMAGE_PITCH_ALIGNMENT = 0x104A,
};

constexpr size_t COUNTERS = 1024;             // work-items: one alone would take seconds
constexpr uint64_t MOST = uint64_t{4} << 30;  // no model for a phone asks for more at once
constexpr double MOST_S = 4;                  // no further buffer after this time

// Creates buffers and makes every page of them real, which is where drivers that promise too much
// are found out.
class Holder {
 public:
  explicit Holder(Bench &bench)
      : bench_(bench),
        touch_(bench.kernel(PROBE_DEFINES, "probe_touch")),
        count_(bench.kernel(PROBE_DEFINES, "probe_count")),
        answer_(bench.device().buffer(4 * COUNTERS, "the probe")) {}

  // Empty when a buffer of so many bytes holds what is written into it; else why not.
  std::string hold(size_t bytes, cl::Owned<cl::Memory> &memory) {
    cl::Int code = 0;
    memory = cl::Owned<cl::Memory>(
        cl::CreateBuffer(bench_.device().context(), cl::READ_WRITE, bytes, nullptr, &code));
    if (code != 0) return "clCreateBuffer: " + cl::error_name(code);
    try {
      return touched(memory.get(), bytes / (4 * PROBE_STRIDE));
    } catch (const Failure &failure) {
      return std::string(failure.what()) + ": " + failure.because;
    }
  }

 private:
  std::string touched(cl::Memory memory, size_t pages) {
    const uint32_t count = static_cast<uint32_t>(pages);
    set_buffer(touch_.get(), 0, memory);
    bench_.launch(touch_.get(), pages, 1);
    set_buffer(count_.get(), 0, memory);
    set_buffer(count_.get(), 1, answer_.get());
    cl::check(cl::SetKernelArg(count_.get(), 2, sizeof count, &count), "clSetKernelArg");
    bench_.launch(count_.get(), COUNTERS, 1);
    std::vector<uint32_t> right(COUNTERS);
    cl::check(cl::EnqueueReadBuffer(bench_.queue(), answer_.get(), 1, 0, 4 * COUNTERS, right.data(),
                                    0, nullptr, nullptr),
              "clEnqueueReadBuffer");
    const bool all = std::accumulate(right.begin(), right.end(), size_t{0}) == pages;
    return all ? "" : "what was written did not come back";
  }

  Bench &bench_;
  cl::Owned<cl::Kernel> touch_, count_;
  cl::Owned<cl::Memory> answer_;
};

// The largest single buffer: the reported limit, else by halving, to 1/16 of it.
uint64_t largest(Holder &holder, uint64_t bound, std::string &why) {
  cl::Owned<cl::Memory> memory;
  uint64_t good = 0, bad = bound;
  std::string reason = holder.hold(bound, memory);
  if (reason.empty()) return bound;
  why = reason;
  while (bad - good > bound / 16) {
    const uint64_t middle = (good + bad) / 2 / (4 * PROBE_STRIDE) * (4 * PROBE_STRIDE);
    memory = {};
    reason = holder.hold(middle, memory);
    (reason.empty() ? good : bad) = middle;
    if (!reason.empty()) why = reason;
  }
  return good;
}

// All buffers together, in pieces of an eighth of the bound.
uint64_t total(Holder &holder, uint64_t bound, uint64_t single, std::string &why) {
  const uint64_t piece = std::min(single, bound / 8 / (4 * PROBE_STRIDE) * (4 * PROBE_STRIDE));
  std::vector<cl::Owned<cl::Memory>> kept;
  uint64_t sum = 0;
  const double end = now() + MOST_S;
  while (piece && sum + piece <= bound) {
    if (now() > end) {
      why = "the time for this was over";
      return sum;
    }
    cl::Owned<cl::Memory> memory;
    why = holder.hold(piece, memory);
    if (!why.empty()) return sum;
    kept.push_back(std::move(memory));
    sum += piece;
  }
  return sum;
}

}  // namespace

std::string probe_limits(const ProbeOptions &options) {
  const Bench bench(options);
  const auto number = [&](cl::Uint key) { return static_cast<int64_t>(bench.limit(key)); };
  const int64_t kind = number(DEVICE_LOCAL_MEM_TYPE);
  const std::string facts = bench.device().facts().json();
  const std::string limits =
      Record()
          .add("library", bench.library())
          .add("max_work_group", number(DEVICE_MAX_WORK_GROUP_SIZE))
          .add("local_memory_type", kind == 1   ? "local"
                                    : kind == 2 ? "global"
                                                : "none")
          .raw("image2d_max", "[" + std::to_string(number(DEVICE_IMAGE2D_MAX_WIDTH)) + ", " +
                                  std::to_string(number(DEVICE_IMAGE2D_MAX_HEIGHT)) + "]")
          .add("image1d_buffer_max", number(DEVICE_IMAGE_MAX_BUFFER_SIZE))
          .add("pitch_align_px", number(DEVICE_IMAGE_PITCH_ALIGNMENT))
          .add("available_bytes", available_bytes())
          .text();
  return facts.substr(0, facts.size() - 1) + ", " + limits.substr(1);  // one object of both
}

std::string probe_allocation(const ProbeOptions &options) {
  Bench bench(options);
  Holder holder(bench);
  const uint64_t page = 4 * PROBE_STRIDE;
  const uint64_t bound = std::min<uint64_t>({static_cast<uint64_t>(available_bytes()) / 2,
                                             bench.device().facts().global_memory, MOST}) /
                         page * page;
  if (bound == 0) throw Failure("nothing can be allocated", "no memory is free", "");
  const uint64_t reported = bench.device().facts().largest_buffer;
  std::string single_why, total_why;
  const uint64_t single = largest(holder, std::min(bound, reported / page * page), single_why);
  const uint64_t sum = total(holder, bound, single, total_why);
  const std::string ours =
      bound < MOST / page * page ? "half of the free memory" : "the probe asks for no more";
  return Record()
      .add("reported_bytes", static_cast<int64_t>(reported))
      .add("largest_bytes", static_cast<int64_t>(single))
      .add("largest_stopped", !single_why.empty() ? single_why
                              : reported > bound  ? ours
                                                  : "the reported limit")
      .add("total_bytes", static_cast<int64_t>(sum))
      .add("total_stopped", total_why.empty() ? ours : total_why)
      .text();
}

std::string probe_alignment(const ProbeOptions &options) {
  Bench bench(options);
  const size_t reported = bench.device().facts().align, bytes = 1 << 16;
  const auto store = bench.kernel(PROBE_DEFINES, "probe_store");
  const auto whole = bench.device().buffer(bytes, "the probe");
  size_t smallest = 0;
  for (size_t align = 4; align <= reported && !smallest; align *= 2) {
    cl::Int code = 0;
    const cl::Region region{align, bytes / 2};
    const cl::Owned<cl::Memory> part(
        cl::CreateSubBuffer(whole.get(), 0, cl::BUFFER_CREATE_TYPE_REGION, &region, &code));
    if (code != 0) continue;
    const uint32_t value = static_cast<uint32_t>(align);
    uint32_t seen = 0;
    set_buffer(store.get(), 0, part.get());
    cl::check(cl::SetKernelArg(store.get(), 1, sizeof value, &value), "clSetKernelArg");
    bench.launch(store.get(), 16, 1);
    cl::check(
        cl::EnqueueReadBuffer(bench.queue(), whole.get(), 1, align, 4, &seen, 0, nullptr, nullptr),
        "clEnqueueReadBuffer");
    if (seen == value) smallest = align;
  }
  if (!smallest)
    throw Failure("no sub-buffer works", "also at the reported grid of " + std::to_string(reported),
                  "");
  return Record()
      .add("reported_bytes", static_cast<int64_t>(reported))
      .add("smallest_bytes", static_cast<int64_t>(smallest))
      .text();
}

}  // namespace pocket
