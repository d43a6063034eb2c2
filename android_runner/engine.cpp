#include "engine.h"

#include <algorithm>

#include "cl_library.h"
#include "failure.h"
#include "json.h"
#include "text.h"

namespace pocket {
namespace {

std::vector<const Phase *> chosen_phases(const Plan &plan, const std::string &names) {
  std::vector<const Phase *> phases;
  for (const std::string &name : pieces(names + ",prefill,decode", ",")) {
    const Phase *phase = plan.phase(name);
    if (!phase)
      throw Failure("the plan has no phase '" + name + "'", "it was asked for",
                    "one that plan.json has");
    if (std::find(phases.begin(), phases.end(), phase) == phases.end()) phases.push_back(phase);
  }
  return phases;
}

// Where this process says what it is at, once the journals of dead ones are read.
std::string own_journal(const ProgramCache &cache, const EngineOptions &options) {
  settle_journals(cache, options.journal);
  return options.journal.empty() ? journal_in(cache.folder()) : options.journal;
}

BuildOptions with_command(const EngineOptions &options) {
  BuildOptions builds = options.builds;
  if (options.program.empty()) return builds;
  builds.command = {options.program, options.plan, "--build", "--cache", options.cache};
  if (!options.library.empty())
    builds.command.insert(builds.command.end(), {"--cl-lib", options.library});
  if (!options.platform.empty())
    builds.command.insert(builds.command.end(), {"--platform", options.platform});
  return builds;
}

size_t flush_after(const EngineOptions &options, const Device &device) {
  constexpr size_t ON_GPU = 2;
  if (options.flush >= 0) return static_cast<size_t>(options.flush);
  return device.is_cpu() ? 0 : ON_GPU;
}

}  // namespace

Engine::Engine(const EngineOptions &options)
    : start_(now()),
      plan_(load_plan(options.plan)),
      phases_(chosen_phases(plan_, options.phases)),
      library_(cl::load(options.library)),
      device_(options.platform, plan_.device_class, options.profile, options.priority),
      cache_(options.cache, device_),
      journal_(own_journal(cache_, options)),
      memory_(plan_, device_, phases_),
      programs_(plan_, device_, cache_, journal_, with_command(options)),
      executor_(plan_, device_, memory_, programs_, flush_after(options, device_)),
      session_(plan_, device_, memory_, executor_) {
  if (options.watch_crashes) journal_.watch_crashes();
  executor_.prepare(phases_, device_.is_cpu() && options.cooperative != "off");
  for (const Phase *phase : phases_) executor_.load(*phase);
  executor_.choose(options.recorded, options.cooperative);
  load_s_ = now() - start_;
}

void serve_builds(const EngineOptions &options) {
  const Plan plan = load_plan(options.plan);
  cl::load(options.library);
  const Device device(options.platform, plan.device_class, options.profile, options.priority);
  serve_builds(plan, device, ProgramCache(options.cache, device));
}

// A step may be under way whose id nobody waits for any more; it would be written into freed
// memory.
Engine::~Engine() {
  try {
    device_.wait();
  } catch (const Failure &) {  // the device failed before, and that was told
  }
}

std::string Engine::facts() const {
  const DeviceFacts &facts = device_.facts();
  return Record()
      .add("device", facts.name)
      .add("driver", facts.driver)
      .add("compute_units", int64_t{facts.compute_units})
      .add("platform", facts.platform_name)
      .add("load_s", load_s_)
      .add("programs_built", int64_t{programs_.built})
      .add("programs_cached", int64_t{programs_.cached})
      .add("arena_bytes", memory_.arena_bytes)
      .add("weight_bytes", memory_.weight_bytes)
      .add("state_bytes", memory_.state_bytes)
      .add("weights", memory_.mapped() ? "mapped" : "uploaded")
      .raw("recorded", executor_.choices())
      .text();
}

}  // namespace pocket
