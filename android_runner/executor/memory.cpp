#include "executor/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>

#include "base/failure.h"
#include "plan/bounds.h"

namespace pocket {
namespace {

constexpr size_t PIECE = 16 << 20;  // of an upload

// Bytes that a buffer needs in the phases in use; a state always has its full capacity.
int64_t bytes_in_use(const Buffer &buffer, const std::vector<const Phase *> &phases) {
  if (buffer.kind == "state") return buffer.bytes;
  int64_t most = 1;
  for (const Phase *phase : phases) {
    int64_t elements = 1;
    for (const Expr &dim : buffer.shape) {
      const auto extent = bounds(dim, phase->box);
      if (!extent || __builtin_mul_overflow(elements, extent->high, &elements)) return buffer.bytes;
    }
    most = std::max(most, elements);
  }
  return most > buffer.bytes ? buffer.bytes
                             : std::min(buffer.bytes, most * dtype_size(buffer.dtype));
}

// So large that it fits nowhere, where it can't be counted.
int64_t sum(int64_t a, int64_t b) {
  int64_t total = 0;
  return __builtin_add_overflow(a, b, &total) ? INT64_MAX : total;
}

// Bytes on the device, by what they are for.
struct Needs {
  int64_t weights = 0, states = 0, buffers = 0, arena = 0;
  int64_t besides_weights() const { return sum(sum(states, buffers), arena); }
  std::string text(bool mapped) const {
    char words[200];
    snprintf(words, sizeof words, "weights %lld%s, states %lld, buffers %lld, arena %lld",
             static_cast<long long>(weights), mapped ? " (mapped, not copied)" : "",
             static_cast<long long>(states), static_cast<long long>(buffers),
             static_cast<long long>(arena));
    return words;
  }
};

Needs needs_of(const Plan &plan, const std::vector<int64_t> &sizes, int64_t arena) {
  Needs needs;
  needs.arena = arena;
  std::set<size_t> files;
  for (const Weight &weight : plan.weights) files.insert(weight.file);
  for (const size_t file : files) needs.weights = sum(needs.weights, plan.files[file].bytes);
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t &kind = plan.buffers[i].kind == "state" ? needs.states : needs.buffers;
    kind = sum(kind, sizes[i]);
  }
  return needs;
}

void fill_zero(const Device &device, cl::Memory memory, size_t bytes) {
  const cl::Int zero = 0;
  const size_t unit = bytes % 4 ? 1 : 4;
  cl::check(
      cl::EnqueueFillBuffer(device.queue(0), memory, &zero, unit, 0, bytes, 0, nullptr, nullptr),
      "clEnqueueFillBuffer");
}

}  // namespace

MappedFile::MappedFile(const std::string &path, size_t size) : size_(size) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void *data =
      file < 0 ? MAP_FAILED : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  const int error = errno;
  if (file >= 0) close(file);
  if (data == MAP_FAILED)
    throw Failure(path + " can't be mapped", strerror(error),
                  "check the file's permissions and the free memory");
  data_ = static_cast<char *>(data);
}

MappedFile::MappedFile(MappedFile &&other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, size_);
}

Memory::Memory(const Plan &plan, const Device &device, const std::vector<const Phase *> &phases) {
  if (plan.align % device.facts().align)
    throw Failure("the plan does not fit this device",
                  "its buffers lie at multiples of " + std::to_string(plan.align) + " bytes, " +
                      device.facts().name + " needs " + std::to_string(device.facts().align),
                  "compile the model for this device");
  for (const Buffer &buffer : plan.buffers) sizes_.push_back(bytes_in_use(buffer, phases));
  for (const Phase *phase : phases) arena_bytes = std::max(arena_bytes, phase->arena_bytes);
  check_room(plan, device);
  load_weights(plan, device);
  make_buffers(plan, device);
  if (arena_bytes) arena_ = device.buffer(arena_bytes, "the scratch memory");
  symbols_ =
      device.buffer(sizeof(cl::Int) * std::max<size_t>(plan.symbols.size(), 1), "the symbols");
  device.wait();
}

// Weights that the device reads in the host's memory are no reason to refuse: they are mapped, and
// the system can let go of them.
void Memory::check_room(const Plan &plan, const Device &device) const {
  const DeviceFacts &facts = device.facts();
  const Needs needs = needs_of(plan, sizes_, arena_bytes);
  const int64_t room = static_cast<int64_t>(facts.global_memory), besides = needs.besides_weights();
  const int64_t all = sum(besides, needs.weights), needed = facts.unified ? besides : all;
  const std::string has =
      facts.name + " has " + std::to_string(room) + " bytes: " + needs.text(facts.unified);
  if (needed > room)
    throw Failure("the plan needs " + std::to_string(needed) + " bytes" +
                      (facts.unified ? " besides its weights" : ""),
                  has, "a smaller --max-context or --prefill-chunk, or a smaller model");
  if (all > room) fprintf(stderr, "note: the plan needs more memory than %s\n", has.c_str());
}

void Memory::load_weights(const Plan &plan, const Device &device) {
  shards_.resize(plan.files.size());
  for (const Weight &weight : plan.weights) {
    if (!shards_[weight.file]) shards_[weight.file] = load_shard(plan, device, weight.file);
    weights_.push_back(part(shards_[weight.file], weight.offset, weight.bytes));
    weight_bytes += weight.bytes;
  }
}

// Where the device shares the host's memory it gets the mapping itself, else a copy and the mapping
// goes.
cl::Owned<cl::Memory> Memory::load_shard(const Plan &plan, const Device &device, size_t file) {
  MappedFile mapped(plan.path(file), plan.files[file].bytes);
  const std::string &name = plan.files[file].path;
  if (device.facts().unified) {
    auto buffer = device.buffer(mapped.size(), name, mapped.data());
    files_.push_back(std::move(mapped));
    return buffer;
  }
  auto buffer = device.buffer(mapped.size(), name);
  for (size_t at = 0; at < mapped.size(); at += PIECE)
    cl::check(cl::EnqueueWriteBuffer(device.queue(0), buffer.get(), 1, at,
                                     std::min(PIECE, mapped.size() - at), mapped.data() + at, 0,
                                     nullptr, nullptr),
              "clEnqueueWriteBuffer");
  return buffer;
}

void Memory::make_buffers(const Plan &plan, const Device &device) {
  for (size_t i = 0; i < sizes_.size(); ++i) {
    buffers_.push_back(device.buffer(sizes_[i], "the buffer " + plan.buffers[i].name));
    if (plan.buffers[i].kind == "state") state_bytes += sizes_[i];
  }
  clear(device);
}

void Memory::clear(const Device &device) const {
  for (size_t i = 0; i < buffers_.size(); ++i) fill_zero(device, buffers_[i].get(), sizes_[i]);
  device.wait();
}

cl::Owned<cl::Memory> Memory::scratch(const Scratch &scratch) const {
  return part(arena_, scratch.offset, scratch.bytes);
}

}  // namespace pocket
