// What a device holds: its limits as reported, and as found by trying.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "failure.h"
#include "probe.h"
#include "system.h"

namespace pocket {
namespace {

// Values from the OpenCL 1.2 and 2.0 specifications and their extensions.
enum : cl::Uint {
  DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
  DEVICE_IMAGE2D_MAX_WIDTH = 0x1011,
  DEVICE_IMAGE2D_MAX_HEIGHT = 0x1012,
  DEVICE_LOCAL_MEM_TYPE = 0x1022,
  DEVICE_LOCAL_MEM_SIZE = 0x1023,
  DEVICE_IMAGE_MAX_BUFFER_SIZE = 0x1040,
  DEVICE_IMAGE_PITCH_ALIGNMENT = 0x104A,
};
constexpr cl::Bits MAP_READ = 1, MAP_WRITE = 2, ALLOC_HOST_PTR = 16;

constexpr size_t STRIDE = 1024;               // of uint: a page of 4 KiB
constexpr size_t COUNTERS = 1024;             // work-items: one alone would take seconds
constexpr uint64_t MOST = uint64_t{4} << 30;  // no model for a phone asks for more at once
constexpr double PART_S = 4;                  // no further buffer after this time
constexpr size_t HOST_BYTES = size_t{64} << 20;
const char *const DEFINES =
    "#define LANES 1\n#define COUNT 128L\n#define REPEATS 1\n#define PREFETCH 0\n"
    "#define STRIDE 1024\n";

// Creates buffers and makes every page of them real, which is where drivers that promise too much
// are found out.
class Holder {
 public:
  explicit Holder(Bench &bench)
      : bench_(bench),
        touch_(bench.kernel(DEFINES, "probe_touch")),
        count_(bench.kernel(DEFINES, "probe_count")),
        answer_(bench.device().buffer(4 * COUNTERS, "the probe")) {}

  // Empty when a buffer of so many bytes holds what is written into it; else why not.
  std::string hold(size_t bytes, cl::Owned<cl::Memory> &memory) {
    cl::Int code = 0;
    memory = cl::Owned<cl::Memory>(
        cl::CreateBuffer(bench_.device().context(), cl::READ_WRITE, bytes, nullptr, &code));
    if (code != 0) return "clCreateBuffer: " + cl::error_name(code);
    try {
      return touched(memory.get(), bytes / (4 * STRIDE));
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
    const uint64_t middle = (good + bad) / 2 / (4 * STRIDE) * (4 * STRIDE);
    memory = {};
    reason = holder.hold(middle, memory);
    if (reason.empty()) good = middle;
    else bad = middle, why = reason;
  }
  return good;
}

// All buffers together, in pieces of an eighth of the bound.
uint64_t total(Holder &holder, uint64_t bound, uint64_t single, std::string &why) {
  const uint64_t piece = std::min(single, bound / 8 / (4 * STRIDE) * (4 * STRIDE));
  std::vector<cl::Owned<cl::Memory>> held;
  uint64_t sum = 0;
  const double end = now() + PART_S;
  while (piece && sum + piece <= bound) {
    if (now() > end) return why = "the time for this was over", sum;
    cl::Owned<cl::Memory> memory;
    why = holder.hold(piece, memory);
    if (!why.empty()) return sum;
    held.push_back(std::move(memory));
    sum += piece;
  }
  return sum;
}

struct Host {
  explicit Host(size_t bytes) : size(bytes) {
    data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    memset(data, 1, size);
  }
  Host(const Host &) = delete;
  Host &operator=(const Host &) = delete;
  ~Host() { munmap(data, size); }
  size_t size;
  void *data;
};

void *map(const Bench &bench, cl::Memory memory, cl::Bits flags, size_t bytes) {
  if (!cl::EnqueueMapBuffer)
    throw Failure("no buffer can be mapped", "the library has no clEnqueueMapBuffer", "");
  cl::Int code = 0;
  void *data =
      cl::EnqueueMapBuffer(bench.queue(), memory, 1, flags, 0, bytes, 0, nullptr, nullptr, &code);
  cl::check(code, "clEnqueueMapBuffer");
  return data;
}

void unmap(const Bench &bench, cl::Memory memory, void *data) {
  cl::check(cl::EnqueueUnmapMemObject(bench.queue(), memory, data, 0, nullptr, nullptr),
            "clEnqueueUnmapMemObject");
  bench.finish();
}

// How a buffer behaves that the host can look into: right values both ways, and what a map costs.
std::string shared(Bench &bench, cl::Bits flags, void *data) {
  cl::Int code = 0;
  const cl::Owned<cl::Memory> memory(
      cl::CreateBuffer(bench.device().context(), cl::READ_WRITE | flags, HOST_BYTES, data, &code));
  cl::check(code, "clCreateBuffer");
  const auto store = bench.kernel(DEFINES, "probe_store");
  set_buffer(store.get(), 0, memory.get());
  const uint32_t value = 0x1234567;
  cl::check(cl::SetKernelArg(store.get(), 1, sizeof value, &value), "clSetKernelArg");
  bench.launch(store.get(), HOST_BYTES / 4, 1 << 6);
  const auto *seen = static_cast<const uint32_t *>(map(bench, memory.get(), MAP_READ, HOST_BYTES));
  bool right = true;
  for (size_t i = 0; i < HOST_BYTES / 4; i += STRIDE) right &= seen[i] == value;
  unmap(bench, memory.get(), const_cast<uint32_t *>(seen));
  const Summary mapped = summary(sample(
      [&] {
        const double start = now();
        unmap(bench, memory.get(), map(bench, memory.get(), MAP_READ | MAP_WRITE, HOST_BYTES));
        return now() - start;
      },
      0.3, 30));
  return Record()
      .raw("right", right ? "true" : "false")
      .add("map_us", 1e6 * mapped.middle)
      .add("map_spread", mapped.spread)
      .text();
}

std::string attempt(const std::function<std::string()> &part) try {
  return part();
} catch (const Failure &failure) {
  return Record().add("error", failure.what()).add("because", failure.because).text();
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
          .add("local_memory_bytes", number(DEVICE_LOCAL_MEM_SIZE))
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
  const uint64_t page = 4 * STRIDE;
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
  const auto store = bench.kernel(DEFINES, "probe_store");
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

std::string probe_host(const ProbeOptions &options) {
  Bench bench(options);
  Host host(HOST_BYTES);
  const auto memory = bench.device().buffer(HOST_BYTES, "the probe");
  const auto copied = [&](bool to_device) {
    std::vector<double> rates;
    for (const double seconds : sample(
             [&] {
               const double start = now();
               cl::check(to_device
                             ? cl::EnqueueWriteBuffer(bench.queue(), memory.get(), 1, 0, HOST_BYTES,
                                                      host.data, 0, nullptr, nullptr)
                             : cl::EnqueueReadBuffer(bench.queue(), memory.get(), 1, 0, HOST_BYTES,
                                                     host.data, 0, nullptr, nullptr),
                         to_device ? "clEnqueueWriteBuffer" : "clEnqueueReadBuffer");
               return now() - start;
             },
             0.4, 30))
      rates.push_back(static_cast<double>(HOST_BYTES) / seconds);
    const Summary found = summary(rates);
    return Record().add("bytes_per_s", found.middle).add("spread", found.spread).text();
  };
  const std::string write = copied(true), read = copied(false);
  return Record()
      .add("bytes", static_cast<int64_t>(HOST_BYTES))
      .raw("write", write)
      .raw("read", read)
      .raw("use_host_ptr", attempt([&] { return shared(bench, cl::USE_HOST_PTR, host.data); }))
      .raw("alloc_host_ptr", attempt([&] { return shared(bench, ALLOC_HOST_PTR, nullptr); }))
      .text();
}

}  // namespace pocket
