// pocketcl-runner: runs a compiled plan on an OpenCL device. protocol.h has the commands that it
// reads from stdin.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "build_farm.h"
#include "cl_library.h"
#include "json.h"
#include "own_program.h"
#include "protocol.h"
#include "text.h"

namespace {

using namespace pocket;

const char *const VERSION = "0.1.0";
const char *const USAGE =
    "usage: pocketcl-runner PLAN [--cl-lib PATH] [--platform SUBSTRING] [--cache DIR] [--phases "
    "NAME,NAME…] [--recorded auto|on|off] [--cooperative "
    "auto|on|off] [--child-builds auto|on|off] [--retry-bad] [--build-limit SECONDS] [--journal "
    "FILE] "
    "[--priority low|normal|high] [--flush N] [--profile]\n"
    "       pocketcl-runner --check PLAN…     loads and checks plans, without OpenCL\n"
    "       pocketcl-runner --devices | --version | --help\n"
    "PLAN is a plan's folder. --cache '' keeps no program binaries. --phases defaults to "
    "prefill,decode. --recorded (or $POCKETCL_RECORDED): whether steps of decode are recorded "
    "once\n"
    "and replayed. --cooperative (or $POCKETCL_COOPERATIVE): whether they run in one launch, on "
    "CPUs.\n"
    "Both: auto measures. --child-builds (or $POCKETCL_CHILD_BUILDS): programs are built in child\n"
    "processes, which a driver may kill; --build-limit: for one program (180). What a driver died "
    "of is\n"
    "remembered in the cache; --retry-bad forgets it. --journal: where it is noted what a driver "
    "may\n"
    "die of (in the cache). --priority (or $POCKETCL_PRIORITY): what the driver is asked for "
    "(normal).\n"
    "--flush: the driver is given every N dispatches (2 on GPUs, 0: as it likes). --profile: "
    "queues that can tell when each kernel ran.\n";

std::string variable(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

struct Options {
  std::vector<std::string> plans;
  std::string library = variable("POCKETCL_CL_LIB"), platform = variable("POCKETCL_PLATFORM"), cache = default_cache_folder();
  std::string phases = "prefill,decode", recorded = variable("POCKETCL_RECORDED");
  std::string cooperative = variable("POCKETCL_COOPERATIVE"), journal;
  std::string child_builds = variable("POCKETCL_CHILD_BUILDS"), limit = "180", flush;
  std::string priority = variable("POCKETCL_PRIORITY");
  char **words = nullptr;  // all of them
  bool build = false, retry_bad = false;
  bool profile = false, check = false, devices = false, version = false, help = false;
};

// False when the command line makes no sense.
bool parse(int count, char **words, Options &options) {
  const struct {
    const char *name;
    std::string *value;
  } valued[] = {{"--cl-lib", &options.library},
                {"--platform", &options.platform},
                {"--cache", &options.cache},
                {"--phases", &options.phases},
                {"--recorded", &options.recorded},
                {"--cooperative", &options.cooperative},
                {"--child-builds", &options.child_builds},
                {"--build-limit", &options.limit},
                {"--journal", &options.journal},
                {"--priority", &options.priority},
                {"--flush", &options.flush}};
  const struct {
    const char *name;
    bool *flag;
  } flags[] = {{"--profile", &options.profile},
               {"--build", &options.build},
               {"--retry-bad", &options.retry_bad},
               {"--check", &options.check},
               {"--devices", &options.devices},
               {"--version", &options.version},
               {"--help", &options.help}};
  for (int i = 1; i < count; ++i) {
    bool known = false;
    for (const auto &option : valued)
      if (!known && strcmp(words[i], option.name) == 0 && i + 1 < count)
        *option.value = words[++i], known = true;
    for (const auto &option : flags)
      if (!known && strcmp(words[i], option.name) == 0) *option.flag = known = true;
    if (!known && words[i][0] == '-') return false;
    if (!known) options.plans.push_back(words[i]);
  }
  for (std::string *wish : {&options.recorded, &options.cooperative, &options.child_builds}) {
    if (wish->empty()) *wish = "auto";
    if (*wish != "auto" && *wish != "on" && *wish != "off") return false;
  }
  if (options.priority.empty()) options.priority = "normal";
  for (const std::string &number : {options.limit, options.flush})
    if (number.find_first_not_of("0123456789") != std::string::npos || number.size() > 6)
      return false;
  if (options.priority != "low" && options.priority != "normal" && options.priority != "high")
    return false;
  const bool alone = options.devices || options.version || options.help;
  return alone || (options.check ? !options.plans.empty() : options.plans.size() == 1);
}

std::vector<const Phase *> chosen_phases(const Plan &plan, const std::string &names) {
  std::vector<const Phase *> phases;  // the last two belong to every session
  for (const std::string &name : pieces(names + ",prefill,decode", ",")) {
    const Phase *phase = plan.phase(name);
    if (!phase)
      throw Failure("the plan has no phase '" + name + "'", "--phases names it",
                    "one that plan.json has");
    bool there = false;
    for (const Phase *other : phases) there |= other == phase;
    if (!there) phases.push_back(phase);
  }
  return phases;
}

std::string load_library(const Options &options) try {
  return cl::load(options.library);
} catch (const cl::NoLibrary &) {
  restart_among_vendor_libraries(options.words);
  throw;
}

void list_devices_as_json(const Options &options) {
  const std::string library = load_library(options);
  std::string list;
  for (const DeviceFacts &facts : list_devices()) list += (list.empty() ? "" : ", ") + facts.json();
  answer(Record().add("library", library).raw("devices", "[" + list + "]").text());
}

int check_plans(const Options &options) {
  int failed = 0;
  for (const std::string &path : options.plans) {
    try {
      const Plan plan = load_plan(path);
      answer("ok " + std::to_string(plan.phases.size()) + " phases");
    } catch (const Failure &failure) {
      answer(failure);
      failed = 1;
    }
  }
  return failed;
}

std::string ready(const Device &device, const Memory &memory, const Programs &programs,
                  const Executor &executor, double load_s) {
  const DeviceFacts &facts = device.facts();
  return Record()
      .add("device", facts.name)
      .add("driver", facts.driver)
      .add("compute_units", int64_t{facts.compute_units})
      .add("platform", facts.platform_name)
      .add("load_s", load_s)
      .add("programs_built", int64_t{programs.built})
      .add("programs_cached", int64_t{programs.cached})
      .add("arena_bytes", memory.arena_bytes)
      .add("weight_bytes", memory.weight_bytes)
      .add("state_bytes", memory.state_bytes)
      .add("weights", memory.mapped() ? "mapped" : "uploaded")
      .raw("recorded", executor.choices())
      .text();
}

BuildOptions build_options(const Options &options) {
  BuildOptions builds{options.child_builds, {own_program(), options.plans[0], "--build"}};
  builds.command.insert(builds.command.end(), {"--cache", options.cache});
  if (!options.library.empty())
    builds.command.insert(builds.command.end(), {"--cl-lib", options.library});
  if (!options.platform.empty())
    builds.command.insert(builds.command.end(), {"--platform", options.platform});
  builds.limit_s = atoi(options.limit.c_str());
  builds.retry_bad = options.retry_bad;
  return builds;
}

void run_plan(const Options &options) {
  const double start = now();
  const Plan plan = load_plan(options.plans[0]);
  const auto phases = chosen_phases(plan, options.phases);
  load_library(options);
  Device device(options.platform, plan.device_class, options.profile, options.priority);
  const ProgramCache cache(options.cache, device);
  if (options.build) return serve_builds(plan, device, cache);
  settle_journals(cache, options.journal);
  Journal journal(options.journal.empty() ? journal_in(cache.folder()) : options.journal);
  journal.watch_crashes();
  const Memory memory(plan, device, phases);
  Programs programs(plan, device, cache, journal, build_options(options));
  const int flush = options.flush.empty() ? (device.is_cpu() ? 0 : 2) : atoi(options.flush.c_str());
  Executor executor(plan, device, memory, programs, static_cast<size_t>(flush));
  Session session(plan, device, memory, executor);
  executor.prepare(phases, device.is_cpu() && options.cooperative != "off");
  for (const Phase *phase : phases) executor.load(*phase);
  executor.choose(options.recorded, options.cooperative);
  answer("ready " + ready(device, memory, programs, executor, now() - start));
  Protocol(session).serve();
}

int run(const Options &options) {
  if (options.help) return fputs(USAGE, stdout) < 0;
  if (options.version)
    return printf("pocketcl-runner %s (plan format %d)\n", VERSION, PLAN_FORMAT) < 0;
  if (options.check) return check_plans(options);
  if (options.devices) list_devices_as_json(options);
  else run_plan(options);
  return 0;
}

}  // namespace

int main(int count, char **words) {
  Options options;
  options.words = words;
  if (!parse(count, words, options)) return fputs(USAGE, stderr), 2;
  watch_signals();
  try {
    return run(options);
  } catch (const Failure &failure) {
    answer(failure);
  } catch (const std::bad_alloc &) {
    answer(Failure("out of memory", "the system gave no more",
                   "a smaller --max-context or a smaller model"));
  } catch (const std::exception &error) {
    answer(Failure("the runner failed", error.what(), "please report this"));
  }
  return 1;
}
