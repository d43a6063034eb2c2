// What a device reads, computes and launches a second.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "base/failure.h"
#include "base/os.h"
#include "probe/probe.h"

namespace pocket {
namespace {

constexpr cl::Uint DEVICE_GLOBAL_MEM_CACHE_SIZE = 0x101E;
constexpr size_t COLD =
    size_t{1} << 28;              // bytes that few caches hold, as in opencl_kernels/timing.py
constexpr size_t PARTS = 4;       // that as much is read in: short launches are rarely disturbed
constexpr double LONG_S = 0.003;  // a launch: beside it what a clock gets wrong is nothing
constexpr double RATE_S = 1;      // all launches of one rate
constexpr size_t ENOUGH = 200;
constexpr int REPEATS = 1 << 12;
constexpr size_t MOST_ITEMS = size_t{1} << 20;

std::string defined(const char *name, const std::string &value) {
  return std::string("#define ") + name + " " + value + "\n";
}

std::string defines(size_t lanes, size_t count, int prefetch, bool half) {
  return defined("LANES", std::to_string(lanes)) + defined("COUNT", std::to_string(count) + "L") +
         defined("REPEATS", std::to_string(REPEATS)) +
         defined("PREFETCH", std::to_string(prefetch)) + defined("STRIDE", "1024") +
         (half ? defined("HAVE_FP16", "1") : "");
}

double timed(const Bench &bench, const std::function<void()> &enqueue) {
  const double start = now();
  enqueue();
  bench.finish();
  return now() - start;
}

// A buffer whose every page is real.
cl::Owned<cl::Memory> filled(const Bench &bench, size_t bytes) {
  auto memory = bench.device().buffer(bytes, "the probe");
  const float value = 0.25f;
  cl::check(cl::EnqueueFillBuffer(bench.queue(), memory.get(), &value, sizeof value, 0, bytes, 0,
                                  nullptr, nullptr),
            "clEnqueueFillBuffer");
  bench.finish();
  return memory;
}

std::vector<double> each_of(double amount, std::vector<double> seconds) {
  for (double &value : seconds) value = amount / value;
  return seconds;
}

std::string rate(const std::vector<double> &rates, const char *unit) {
  const Summary found = summary(rates);
  return Record()
      .add(unit, found.middle)
      .add("spread", found.spread)
      .add("samples", static_cast<int64_t>(found.count))
      .text();
}

struct Shape {
  size_t lanes, local, items;
};

Shape shape(const Bench &bench, size_t more) {
  const size_t units = std::max<size_t>(bench.device().facts().compute_units, 1);
  return bench.cpu() ? Shape{1, 1, 4 * units} : Shape{64, 64, more * units};
}

}  // namespace

std::string probe_read(const ProbeOptions &options) {
  Bench bench(options, true);
  const DeviceFacts &facts = bench.device().facts();
  const Shape shaped = shape(bench, 1024);
  const size_t cold = std::max<size_t>(COLD, 2 * bench.limit(DEVICE_GLOBAL_MEM_CACHE_SIZE));
  const size_t room =
      std::min<uint64_t>({cold, PARTS * facts.largest_buffer, facts.global_memory / 8,
                          static_cast<uint64_t>(available_bytes()) / 4});
  const size_t count = room / PARTS / 4 / (128 * shaped.lanes) * (128 * shaped.lanes);
  if (count == 0) throw Failure("nothing can be read", "too little memory is free", "");
  const auto y = bench.device().buffer(64 * shaped.items, "the probe");
  std::vector<cl::Owned<cl::Memory>> parts;
  for (size_t i = 0; i < PARTS; ++i) parts.push_back(filled(bench, 4 * count));
  std::vector<double> best;
  for (const int prefetch : {0, 40}) {  // PoCL gains by the hint; GPUs don't know the builtin
    if (prefetch && !bench.cpu()) break;
    const auto kernel = bench.kernel(defines(shaped.lanes, count, prefetch, false), "rate_read");
    set_buffer(kernel.get(), 1, y.get());
    size_t launches = 0;
    const auto once = [&] {
      set_buffer(kernel.get(), 0, parts[launches++ % PARTS].get());
      return bench.seconds(kernel.get(), shaped.items, shaped.local);
    };
    const auto rates = each_of(4.0 * static_cast<double>(count), sample(once, RATE_S, ENOUGH));
    if (best.empty() || summary(rates).middle > summary(best).middle) best = rates;
  }
  return rate(best, "bytes_per_s");
}

std::string probe_multiply_add(const ProbeOptions &options, bool half) {
  Bench bench(options, true);
  if (half && !bench.device().facts().features.count("fp16"))
    throw Failure("no half arithmetic", "the device does not have cl_khr_fp16", "");
  const Shape shaped = shape(bench, 64);
  const auto kernel = bench.kernel(defines(shaped.lanes, 128, 0, half),
                                   half ? "rate_multiply_add_half" : "rate_multiply_add");
  std::vector<float> values(256);
  uint32_t seed = 1;
  for (float &value : values)
    value = static_cast<float>((seed = seed * 1664525 + 1013904223) >> 8) * 0x1p-25f;  // < 0.5
  const auto x = bench.device().buffer(4 * values.size(), "the probe");
  const auto y = bench.device().buffer(64 * MOST_ITEMS, "the probe");
  cl::check(cl::EnqueueWriteBuffer(bench.queue(), x.get(), 1, 0, 4 * values.size(), values.data(),
                                   0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
  set_buffer(kernel.get(), 0, x.get());
  set_buffer(kernel.get(), 1, y.get());
  size_t items = shaped.items;
  const auto once = [&] { return bench.seconds(kernel.get(), items, shaped.local); };
  once();
  while (items * 2 <= MOST_ITEMS && once() < LONG_S) items *= 2;
  const auto rates =
      each_of(256.0 * REPEATS * static_cast<double>(items), sample(once, RATE_S, ENOUGH));
  return rate(rates, "operations_per_s");
}

namespace {

constexpr int BATCH = 200;
constexpr size_t WIDER = 16;          // times as many items, to tell work from what is beside it
constexpr size_t SCORES = 8192;       // bytes that the host reads: as many as a layer's scores
constexpr useconds_t NAP_US = 300;    // as long as reads take: cores go to sleep meanwhile
constexpr int SHORT_REPEATS = 1 << 10;  // some microseconds of each core

double queued(const Bench &bench, cl::Kernel kernel, size_t items, size_t local) {
  const auto once = [&] {
    return timed(bench, [&] {
             for (int i = 0; i < BATCH; ++i) bench.launch(kernel, items, local);
           }) / BATCH;
  };
  return summary(sample(once, 0.3, 100)).middle;
}

// What gathers do: a launch that all cores compute, whose values the host reads before the next; both
// have had nothing to do for a while.
void add_wide(Bench &bench, Record &found) {
  const Shape shaped = shape(bench, 4);
  const auto kernel =
      bench.kernel(defined("REPEATS", std::to_string(SHORT_REPEATS)), "rate_multiply_add");
  const auto x = filled(bench, 4096);
  const auto y = bench.device().buffer(std::max(SCORES, 64 * WIDER * shaped.items), "the probe");
  set_buffer(kernel.get(), 0, x.get());
  set_buffer(kernel.get(), 1, y.get());
  const double one = queued(bench, kernel.get(), shaped.items, shaped.local);
  const double more = queued(bench, kernel.get(), WIDER * shaped.items, shaped.local);
  const double work = std::max(0.0, (more - one) / (WIDER - 1));
  std::vector<char> scores(SCORES);
  const auto read = [&] {
    bench.launch(kernel.get(), shaped.items, shaped.local);
    cl::check(cl::EnqueueReadBuffer(bench.queue(), y.get(), 1, 0, SCORES, scores.data(), 0, nullptr,
                                    nullptr),
              "clEnqueueReadBuffer");
  };
  const auto after_a_nap = [&] {
    usleep(NAP_US);
    return timed(bench, read);
  };
  const double waited = summary(sample(after_a_nap, 0.5, 400)).middle;
  found.add("wake_us", 1e6 * std::max(0.0, one - work)).add("wait_us", 1e6 * (waited - one));
}

// From one thread to another and back, as reads are given to threads, which tell that they are done.
struct Table {
  std::mutex mutex;
  std::condition_variable changed;
  int turn = 0;

  void play(int own) {
    std::unique_lock<std::mutex> held(mutex);
    for (int i = 0; i < BATCH; ++i) {
      changed.wait(held, [&] { return turn % 2 == own; });
      ++turn;
      changed.notify_all();
    }
  }
};

void *second(void *table) {
  static_cast<Table *>(table)->play(1);
  return nullptr;
}

double handoff() {
  const auto once = [] {
    Table table;
    pthread_t thread;
    const double start = now();
    if (pthread_create(&thread, nullptr, second, &table) != 0)
      throw Failure("no thread can be started", "the system gave none", "");
    table.play(0);
    pthread_join(thread, nullptr);
    return (now() - start) / (2 * BATCH);
  };
  return summary(sample(once, 0.3, 20)).middle;
}

}  // namespace

std::string probe_launch(const ProbeOptions &options) {
  Bench bench(options);
  const auto kernel = bench.kernel(defines(1, 128, 0, false), "probe_nothing");
  const auto y = bench.device().buffer(4096, "the probe");
  set_buffer(kernel.get(), 0, y.get());
  const auto alone = summary(
      sample([&] { return timed(bench, [&] { bench.launch(kernel.get(), 1, 1); }); }, 0.5, 200));
  const auto row = summary(sample(
      [&] {
        return timed(bench,
                     [&] {
                       for (int i = 0; i < BATCH; ++i) bench.launch(kernel.get(), 1, 1);
                     }) /
               BATCH;
      },
      0.5, 100));
  Record found;
  found.add("finish_us", 1e6 * alone.middle)
      .add("finish_spread", alone.spread)
      .add("queued_us", 1e6 * row.middle)
      .add("queued_spread", row.spread)
      .add("batch", int64_t{BATCH})
      .add("handoff_us", 1e6 * handoff());
  add_wide(bench, found);
  return found.text();
}

}  // namespace pocket
