// How fast a file is read from storage, by the size of the reads; and the processor's cores.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/failure.h"
#include "base/os.h"
#include "base/pages.h"
#include "probe/probe.h"

namespace pocket {
namespace {

constexpr size_t KIB = 1024, MIB = 1024 * KIB;
constexpr size_t SIZES[] = {4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 512 * KIB, MIB};
constexpr int THREADS[] = {1, 4};
constexpr int ROUNDS = 3;  // through all sizes, so that a slow moment hits no single one
constexpr double READ_S = 0.08, WRITE_S = 4;
constexpr size_t FILE_BYTES = 256 * MIB;  // at most; and a quarter of what is free
constexpr size_t LEAST_BYTES = 8 * MIB;

std::string reason() { return strerror(errno); }

uint64_t next(uint64_t &state) {  // xorshift: noise that storage can't compress
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

// A file full of noise that has no name: whatever ends this process, nothing of it remains.
class Scratch {
 public:
  explicit Scratch(const std::string &folder) {
    const std::string path = folder + "/pocketcl-probe-" + std::to_string(getpid());
    write_ = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (write_ < 0) throw Failure("no file can be written to " + folder, reason(), "");
    direct_ = open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (direct_ < 0) why_not_ = "open: " + reason();
    unlink(path.c_str());
    fill(free_bytes());
    try_direct();
  }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  ~Scratch() {
    if (direct_ >= 0) close(direct_);
    close(write_);
  }

  size_t bytes() const { return bytes_; }
  double write_rate() const { return write_rate_; }
  bool direct() const { return direct_ >= 0; }
  const std::string &why_not() const { return why_not_; }
  int file() const { return direct() ? direct_ : write_; }

  // Before reads that go through the page cache: nothing of the file is in it, nothing comes ahead.
  void forget(bool random) const {
    if (direct()) return;
    posix_fadvise(write_, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(write_, 0, 0, random ? POSIX_FADV_RANDOM : POSIX_FADV_NORMAL);
  }

 private:
  uint64_t free_bytes() const {
    struct statvfs facts;
    if (fstatvfs(write_, &facts) != 0) throw Failure("free space is not known", reason(), "");
    return uint64_t{facts.f_bavail} * facts.f_frsize;
  }

  void fill(uint64_t free) {
    const size_t wanted = std::min<uint64_t>(FILE_BYTES, free / 4) / MIB * MIB;
    if (wanted < LEAST_BYTES)
      throw Failure("too little space is free", std::to_string(free) + " bytes", "");
    const Pages block(MIB);
    auto *const words = reinterpret_cast<uint64_t *>(block.data());
    uint64_t state = 0x9E3779B97F4A7C15;
    const double start = now();
    while (bytes_ < wanted && (bytes_ < LEAST_BYTES || now() - start < WRITE_S)) {
      for (size_t i = 0; i < MIB / 8; ++i) words[i] = next(state);
      if (pwrite(write_, block.data(), MIB, static_cast<off_t>(bytes_)) != static_cast<ssize_t>(MIB))
        throw Failure("the file can't be written", reason(), "");
      bytes_ += MIB;
    }
    if (fsync(write_) != 0) throw Failure("the file can't be written", reason(), "");
    write_rate_ = static_cast<double>(bytes_) / (now() - start);
  }

  void try_direct() {  // some file systems open it and refuse to read
    const Pages block(4 * KIB);
    if (direct_ < 0 || pread(direct_, block.data(), 4 * KIB, 0) == static_cast<ssize_t>(4 * KIB))
      return;
    why_not_ = "read: " + reason();
    close(direct_);
    direct_ = -1;
  }

  int write_ = -1, direct_ = -1;
  size_t bytes_ = 0;
  double write_rate_ = 0;
  std::string why_not_;
};

// What a thread reads: blocks of its own share of the file, in order or not.
struct Reader {
  const Scratch *scratch;
  size_t size, first, blocks;
  bool random;
  uint64_t seed;
  double until;
  size_t done = 0;  // never more than the share: what was read once may be in a cache
  bool failed = false;
  pthread_t thread = {};

  void read() {
    const Pages block(size);
    while (done < blocks && now() < until) {
      const size_t at = first + (random ? next(seed) % blocks : done);
      const ssize_t got = pread(scratch->file(), block.data(), size, static_cast<off_t>(at * size));
      if (got != static_cast<ssize_t>(size)) return void(failed = true);
      ++done;
    }
  }
};

void *start_reader(void *reader) {
  static_cast<Reader *>(reader)->read();
  return nullptr;
}

// Bytes a second of some threads together.
double read_rate(const Scratch &scratch, size_t size, int threads, bool random, uint64_t seed) {
  const size_t blocks = scratch.bytes() / size / static_cast<size_t>(threads);
  scratch.forget(random);
  const double start = now();
  std::vector<Reader> readers;
  for (int i = 0; i < threads; ++i)
    readers.push_back({&scratch, size, blocks * static_cast<size_t>(i), blocks, random,
                       seed * 2654435761u + static_cast<uint64_t>(i) + 1, start + READ_S});
  for (int i = 1; i < threads; ++i)
    if (const int code = pthread_create(&readers[i].thread, nullptr, start_reader, &readers[i]))
      throw Failure("no thread can be started", strerror(code), "");
  readers[0].read();
  for (int i = 1; i < threads; ++i) pthread_join(readers[i].thread, nullptr);
  size_t total = 0;
  for (const Reader &reader : readers) {
    if (reader.failed) throw Failure("the file can't be read", reason(), "");
    total += reader.done;
  }
  return static_cast<double>(total * size) / (now() - start);
}

int64_t number_in(const std::string &path) {
  FILE *file = fopen(path.c_str(), "r");
  long long value = -1;
  if (file && fscanf(file, "%lld", &value) != 1) value = -1;
  if (file) fclose(file);
  return value;
}

}  // namespace

std::string probe_flash(const ProbeOptions &options) {
  if (options.scratch.empty()) throw Failure("not asked for", "there is no --scratch DIR", "");
  const Scratch scratch(options.scratch);
  struct Way {
    size_t size;
    int threads;
    bool random;
    std::vector<double> rates;
  };
  std::vector<Way> ways;
  for (const size_t size : SIZES)
    for (const int threads : THREADS)
      for (const bool random : {true, false}) ways.push_back({size, threads, random, {}});
  for (uint64_t round = 0; round < ROUNDS; ++round)
    for (Way &way : ways)
      way.rates.push_back(read_rate(scratch, way.size, way.threads, way.random, round + way.size));
  std::string list;
  for (const Way &way : ways) {
    const Summary found = summary(way.rates);
    list += (list.empty() ? "" : ", ") + Record()
                                             .add("bytes", static_cast<int64_t>(way.size))
                                             .add("order", way.random ? "random" : "sequential")
                                             .add("threads", int64_t{way.threads})
                                             .add("bytes_per_s", found.middle)
                                             .add("spread", found.spread)
                                             .text();
  }
  return Record()
      .add("file_bytes", static_cast<int64_t>(scratch.bytes()))
      .add("write_bytes_per_s", scratch.write_rate())
      .add_flag("direct", scratch.direct())
      .add("why_not_direct", scratch.why_not())
      .raw("reads", "[" + list + "]")
      .text();
}

std::string probe_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    throw Failure("the cores are not known", reason(), "");
  std::string list;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(core);
    if (access(folder.c_str(), F_OK) != 0) break;
    const int64_t khz = number_in(folder + "/cpufreq/cpuinfo_max_freq");
    list += (list.empty() ? "" : ", ") +
            Record()
                .add("core", int64_t{core})
                .raw("max_mhz", khz > 0 ? std::to_string(khz / 1000) : "null")
                .add_flag("usable", CPU_ISSET(core, &allowed))
                .text();
  }
  return "[" + list + "]";
}

}  // namespace pocket
