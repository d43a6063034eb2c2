// Whether the places of a phase's scratch memory leave each other alone.
#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>

#include "plan_parts.h"

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
        life = at_once ? Life{0, phase.steps.size() - 1} : Life{std::min(life.first, i), i};
      }
  for (Life &life : alive) life.first = std::min(life.first, life.last);
  return alive;
}

}  // namespace

// Step by step: what is in use lies in the order of offsets, apart from each other, so that only
// its neighbours can overlap what comes.
void check_overlap(const Node &node, const Phase &phase) {
  const std::vector<Life> alive = lives(phase);
  std::vector<std::tuple<size_t, bool, size_t>> changes;  // step, whether it comes, which
  for (size_t i = 0; i < alive.size(); ++i) {
    changes.emplace_back(alive[i].first, true, i);
    changes.emplace_back(alive[i].last + 1, false, i);
  }
  std::sort(changes.begin(), changes.end());
  std::map<int64_t, size_t> in_use;  // by offset
  const auto end_of = [&](size_t i) { return phase.scratch[i].offset + phase.scratch[i].bytes; };
  for (const auto &[step, comes, i] : changes) {
    const int64_t offset = phase.scratch[i].offset;
    if (!comes) {
      in_use.erase(offset);
      continue;
    }
    const auto above = in_use.lower_bound(offset);
    const bool into = above != in_use.end() && above->first < end_of(i);
    const bool out_of = above != in_use.begin() && end_of(std::prev(above)->second) > offset;
    if (into || out_of)
      node.at("scratch").at(i).at("offset").fail(
          "overlaps scratch[" + std::to_string((into ? above : std::prev(above))->second) +
          "], which is in use then");
    in_use.emplace(offset, i);
  }
}

}  // namespace pocket
