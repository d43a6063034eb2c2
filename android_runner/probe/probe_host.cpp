// How the host and a device hand each other memory: copies, and buffers that both look into.
#include <sys/mman.h>

#include <cstring>

#include "base/failure.h"
#include "base/os.h"
#include "probe/probe.h"

namespace pocket {
namespace {

constexpr cl::Bits MAP_READ = 1;
constexpr size_t HOST_BYTES = size_t{64} << 20;

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
  const auto store = bench.kernel(PROBE_DEFINES, "probe_store");
  set_buffer(store.get(), 0, memory.get());
  const uint32_t value = 0x1234567;
  cl::check(cl::SetKernelArg(store.get(), 1, sizeof value, &value), "clSetKernelArg");
  bench.launch(store.get(), HOST_BYTES / 4, 1 << 6);
  const auto *seen = static_cast<const uint32_t *>(map(bench, memory.get(), MAP_READ, HOST_BYTES));
  bool right = true;
  for (size_t i = 0; i < HOST_BYTES / 4; i += PROBE_STRIDE) right &= seen[i] == value;
  unmap(bench, memory.get(), const_cast<uint32_t *>(seen));
  const Summary mapped = summary(sample(
      [&] {
        const double start = now();
        unmap(bench, memory.get(), map(bench, memory.get(), MAP_READ | cl::MAP_WRITE, HOST_BYTES));
        return now() - start;
      },
      0.3, 30));
  return Record()
      .add_flag("right", right)
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
      .raw("alloc_host_ptr", attempt([&] { return shared(bench, cl::ALLOC_HOST_PTR, nullptr); }))
      .text();
}

}  // namespace pocket
