#include "session/engine.h"

#include <algorithm>

#include "base/failure.h"
#include "base/json.h"
#include "base/os.h"
#include "build/device_fit.h"
#include "offload/points.h"
#include "opencl/cl_library.h"

namespace pocket {
namespace {

const Phase &named(const Plan &plan, const std::string &name) {
  if (const Phase *phase = plan.phase(name)) return *phase;
  throw Failure("the plan has no phase '" + name + "'", "it was asked for",
                "one that plan.json has");
}

// Those that are named, and all that a text is generated with.
std::vector<const Phase *> chosen_phases(const Plan &plan, const std::string &names) {
  std::vector<const Phase *> phases;
  const auto add = [&](const Phase *phase) {
    if (std::find(phases.begin(), phases.end(), phase) == phases.end()) phases.push_back(phase);
  };
  const std::string list = names + ",";
  for (size_t at = 0, end = 0; (end = list.find(',', at)) != std::string::npos; at = end + 1)
    if (end > at) add(&named(plan, list.substr(at, end - at)));
  const PhaseChoice choice(plan, all_phases(plan));
  for (const Phase *phase : choice.giving(plan.buffer("ids"))) add(phase);
  return phases;
}

// What was appended beyond the text is simply written again. Any other state would be left as the
// steps made it that ran ahead of the last id, after a stop, a rewind or at a new text.
Plan with_known_states(Plan plan) {
  for (const State &state : plan.states)
    if (state.update != "append")
      throw Failure("the state " + plan.buffers[state.buffer].name + " can't be run",
                    "its update is '" + state.update + "': steps run ahead of the ids, and only " +
                        "what is appended can be taken back",
                    "a model whose states are appended to, as a KV cache is");
  return plan;
}

// A decode step moves the text on by one position, and leaves the next id and its logits.
StepPattern step_pattern(const Plan &plan) {
  const Roles roles(plan);
  const int64_t logits_bytes = int64_t{sizeof(float)} * plan.model.batch * plan.model.vocab_size;
  return {roles.past, roles.ids, {roles.ids, roles.logits}, logits_bytes};
}

const Device &fitting(const Device &device, const Plan &plan,
                      const std::vector<const Phase *> &phases) {
  check_fit(plan, phases, device.facts());
  return device;
}

std::string journal_file(const EngineOptions &options, const ProgramCache &cache) {
  settle_journals(cache, options.journal);
  return options.journal.empty() ? journal_in(cache.folder()) : options.journal;
}

// On a GPU a long prefill would hold the screen up. A driver of Adrenos keeps four pieces in flight
// while several clients want it: four times this is a frame of 60 a second.
double budget_s(const EngineOptions &options, const Device &device) {
  if (options.slice_us >= 0) return 1e-6 * options.slice_us;
  return device.is_cpu() ? 0 : 4e-3;
}

GatherOptions with_room(GatherOptions options, const Plan &plan) {
  if (!options.automatic || plan.tables.empty()) return options;
  const int64_t room = available_bytes();
  if (room == 0)
    throw Failure("--memory auto goes by the memory that there is", "the system doesn't tell",
                  "--memory BYTES");
  options.memory = budget_from(room);
  return options;
}

int64_t slot_bytes(const GatherOptions &options, const Plan &plan, const Device &device) {
  if (plan.tables.empty()) return 0;
  return GatherMemory::bytes(plan, choose_point(plan, options.memory),
                             SharedMemory::is_one(device));
}

std::unique_ptr<Gatherer> gatherer(const EngineOptions &options, GatherOptions wanted,
                                   const Plan &plan, const Memory &memory, const Device &device) {
  if (plan.tables.empty()) return nullptr;
  if (memory.mapped()) wanted.mapped = memory.weight_bytes;
  if (!options.flash.empty()) wanted.imitated = flash_called(options.flash);
  return std::make_unique<Gatherer>(plan, device, wanted);
}

}  // namespace

Engine::Engine(const EngineOptions &options)
    : start_(now()),
      plan_(with_known_states(load_plan(options.plan))),
      phases_(chosen_phases(plan_, options.phases)),
      library_(cl::load(options.library)),
      device_(options.platform, plan_.device_class, options.profile, options.hints),
      gather_(with_room(options.gather, plan_)),
      memory_(plan_, fitting(device_, plan_, phases_), phases_,
              slot_bytes(gather_, plan_, device_)),
      gatherer_(gatherer(options, gather_, plan_, memory_, device_)),
      cache_(options.cache, device_),
      journal_(journal_file(options, cache_)),
      programs_(plan_, device_, cache_, journal_, options.builds),
      executor_(plan_, device_, memory_, programs_, budget_s(options, device_),
                gatherer_.get()),
      session_(plan_, phases_, executor_) {
  if (options.watch_crashes) journal_.watch_crashes();
  executor_.load(phases_, device_.is_cpu() && options.cooperative != "off");
  if (gatherer_) gatherer_->settle_whole();
  check_same(plan_);
  executor_.test_kernels();
  executor_.choose_modes({options.recorded, options.cooperative}, step_pattern(plan_));
  load_s_ = now() - start_;
}

// A step may be under way whose id nobody waits for any more; it would be written into freed
// memory.
Engine::~Engine() {
  try {
    device_.wait();
    keep_warm();
  } catch (const std::exception &) {  // the device failed before, and that is reported already; what
  }                                   // can't be kept makes the next start cold
}

void Engine::keep_warm() const {
  if (gatherer_ && !gatherer_->keep_warm())
    throw Failure("what of the plan lies in memory can't be kept for the next start",
                  "no whole file could be written into " + gather_.warm,
                  "a folder that can be written to, on a disk with room");
}

std::string Engine::facts() const {
  const DeviceFacts &facts = device_.facts();
  Record record;
  record.add("device", facts.name)
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
      .raw("recorded", executor_.modes());
  if (gatherer_) record.raw("tables", gatherer_->facts());
  return record.text();
}

}  // namespace pocket
