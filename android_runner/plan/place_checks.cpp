// Where things may lie: places of a phase's scratch memory leave each other alone, and what images
// show are whole texels that nobody writes meanwhile.
#include <algorithm>

#include "plan/json_node.h"
#include "plan/plan.h"

namespace pocket {
namespace {

struct Life {
  size_t first, last;
};

bool several_queues(const Phase &phase) {
  for (const Step &step : phase.steps)
    if (step.queue != phase.steps[0].queue) return true;
  return false;
}

// From the first step that names a scratch buffer to the last; of one that no step names, step 0.
// Where queues may overtake each other all are in use at once.
std::vector<Life> lives(const Phase &phase) {
  std::vector<Life> alive(phase.scratch.size(), {SIZE_MAX, 0});
  const bool at_once = several_queues(phase);
  for (size_t i = 0; i < phase.steps.size(); ++i)
    for (const Argument &arg : phase.steps[i].args)
      if (arg.kind == Argument::Scratch) {
        Life &life = alive[arg.index];
        const size_t last = i + (phase.steps[i].prefetch ? 1 : 0);  // within the gather behind it
        life = at_once ? Life{0, phase.steps.size() - 1} : Life{std::min(life.first, i), last};
      }
  for (Life &life : alive) life.first = std::min(life.first, life.last);
  return alive;
}

// The scratch buffers that come into use at each step, and those that are free after it.
struct Changes {
  std::vector<size_t> come, go;
};

std::vector<Changes> changes_of(const Phase &phase) {
  std::vector<Changes> changes(phase.steps.size() + 1);  // without a step all are at step 0
  const std::vector<Life> alive = lives(phase);
  for (size_t i = 0; i < alive.size(); ++i) {
    changes[alive[i].first].come.push_back(i);
    changes[alive[i].last].go.push_back(i);
  }
  return changes;
}

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

// Step by step: what is in use lies in the order of offsets, apart from each other, so that only
// its neighbours can overlap what comes.
void check_overlap(const Node &node, const Phase &phase) {
  std::vector<size_t> in_use;
  const auto below = [&](size_t a, size_t b) {
    return phase.scratch[a].offset < phase.scratch[b].offset;
  };
  const auto place_of = [&](size_t i) {
    return std::lower_bound(in_use.begin(), in_use.end(), i, below);
  };
  const auto check = [&](size_t i, size_t other) {
    const Scratch &a = phase.scratch[i], &b = phase.scratch[other];
    if (a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes)
      node.at("scratch").at(i).at("offset").fail("overlaps scratch[" + std::to_string(other) +
                                                 "], which is in use then");
  };
  for (const Changes &step : changes_of(phase)) {
    for (const size_t i : step.come) {
      const auto place = place_of(i);
      if (place != in_use.end()) check(i, *place);
      if (place != in_use.begin()) check(i, place[-1]);
      in_use.insert(place, i);
    }
    for (const size_t i : step.go) in_use.erase(place_of(i));
  }
}

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
