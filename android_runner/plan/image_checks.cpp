// What a variant's images must be: views of whole texels that nobody writes meanwhile.
#include <algorithm>

#include "plan/json_node.h"
#include "plan/plan.h"

namespace pocket {
namespace {

bool same(const Argument &a, const Argument &b) { return a.kind == b.kind && a.index == b.index; }

void check_image(const Node &node, const Plan &plan, const Phase &phase, const Step &step,
                 size_t number) {
  const Argument &argument = step.args[number];
  const auto kinds = {Argument::Scratch, Argument::Weight, Argument::Buffer};
  if (std::find(kinds.begin(), kinds.end(), argument.kind) == kinds.end())
    node.fail("no image is of what argument " + std::to_string(number) + " is");
  for (const size_t written : step.writes)
    if (same(argument, step.args[written]))
      node.fail("argument " + std::to_string(number) + " is written, and what an image shows is not");
  const Place place = place_of(plan, phase, argument);
  if (place.offset % TEXEL || place.bytes % TEXEL)
    node.fail("argument " + std::to_string(number) + " is no whole texels of " +
              std::to_string(TEXEL) + " bytes");
}

}  // namespace

Place place_of(const Plan &plan, const Phase &phase, const Argument &argument) {
  if (argument.kind == Argument::Scratch) {
    const Scratch &scratch = phase.scratch[argument.index];
    return {scratch.offset, scratch.bytes};
  }
  if (argument.kind == Argument::Weight) {
    const Weight &weight = plan.weights[argument.index];
    return {weight.offset, weight.bytes};
  }
  return {0, plan.buffers[argument.index].bytes};
}

int64_t bytes_around(const Plan &plan, const Argument &argument) {
  if (argument.kind == Argument::Weight)
    return plan.files[plan.weights[argument.index].file].bytes;
  if (argument.kind == Argument::Buffer) return plan.buffers[argument.index].bytes;
  int64_t arena = 0;
  for (const Phase &phase : plan.phases) arena = std::max(arena, phase.arena_bytes);
  return arena;
}

std::vector<size_t> read_images(const Node &node, const Plan &plan, const Phase &phase,
                                const Step &step) {
  std::vector<size_t> images;
  for (const Node &entry : node.items()) {
    const size_t number = entry.index(step.args.size(), "args");
    if (std::count(images.begin(), images.end(), number))
      entry.fail("argument " + std::to_string(number) + " is an image already");
    check_image(entry, plan, phase, step, number);
    images.push_back(number);
  }
  return images;
}

}  // namespace pocket
