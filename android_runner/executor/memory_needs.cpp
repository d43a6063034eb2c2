#include "executor/memory_needs.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>

#include "base/failure.h"
#include "sizes/bounds.h"

namespace pocket {
namespace {

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

std::string described(const MemoryNeeds &needs, bool mapped) {
  char words[200];
  snprintf(words, sizeof words, "weights %lld%s, states %lld, buffers %lld, arena %lld",
           static_cast<long long>(needs.weights), mapped ? " (mapped, not copied)" : "",
           static_cast<long long>(needs.states), static_cast<long long>(needs.buffers),
           static_cast<long long>(needs.arena));
  return std::string(words) + (needs.slots ? ", slots " + std::to_string(needs.slots) : "");
}

}  // namespace

std::vector<int64_t> buffer_sizes(const Plan &plan, const std::vector<const Phase *> &phases) {
  std::vector<int64_t> sizes;
  for (const Buffer &buffer : plan.buffers) sizes.push_back(bytes_in_use(buffer, phases));
  return sizes;
}

int64_t MemoryNeeds::besides_weights() const { return sum(sum(states, buffers), sum(arena, slots)); }

MemoryNeeds needs_of(const Plan &plan, const std::vector<int64_t> &sizes, int64_t arena,
                     int64_t slots) {
  MemoryNeeds needs;
  needs.arena = arena;
  needs.slots = slots;
  std::set<size_t> files;
  for (const Weight &weight : plan.weights) files.insert(weight.file);
  for (const size_t file : files) needs.weights = sum(needs.weights, plan.files[file].bytes);
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t &kind = plan.buffers[i].kind == "state" ? needs.states : needs.buffers;
    kind = sum(kind, sizes[i]);
  }
  return needs;
}

// A Mali's driver copies what the host has mapped when a kernel first reads it (Arm's guide to
// OpenCL, 8.3.1): the weights would lie in memory twice.
bool maps_weights(const Plan &plan, const DeviceFacts &facts) {
  return facts.unified && plan.device_class != "mali";
}

// Weights that the device reads in the host's memory are no reason to refuse: they are mapped, and
// the system can let go of them.
void check_room(const MemoryNeeds &needs, const DeviceFacts &facts, bool mapped) {
  const int64_t room = static_cast<int64_t>(facts.global_memory), besides = needs.besides_weights();
  const int64_t all = sum(besides, needs.weights), needed = mapped ? besides : all;
  const std::string has =
      facts.name + " has " + std::to_string(room) + " bytes: " + described(needs, mapped);
  if (needed > room)
    throw Failure("the plan needs " + std::to_string(needed) + " bytes" +
                      (mapped ? " besides its weights" : ""),
                  has,
                  needs.slots ? "a smaller --memory, or a smaller --max-context or --prefill-chunk"
                              : "a smaller --max-context or --prefill-chunk, or a smaller model");
  if (all > room) fprintf(stderr, "note: the plan needs more memory than %s\n", has.c_str());
}

}  // namespace pocket
