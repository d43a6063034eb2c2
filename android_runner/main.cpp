// pocketcl-runner: runs a compiled plan on an OpenCL device. protocol.h has the commands that it
// reads from stdin.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cl_library.h"
#include "engine.h"
#include "json.h"
#include "own_program.h"
#include "probe.h"
#include "protocol.h"

namespace {

using namespace pocket;

const char *const USAGE =
    "usage: pocketcl-runner PLAN [OPTION…]\n"
    "       pocketcl-runner --check PLAN…     loads and checks plans, without OpenCL\n"
    "       pocketcl-runner --probe FILE.cl [--scratch DIR]   measures a device with the kernels\n"
    "                                         of rates.cl and probe.cl, and the storage of DIR\n"
    "       pocketcl-runner --devices | --version | --help\n"
    "PLAN is a plan's folder. Options, some of them with an environment variable:\n"
    "  --cl-lib PATH, --platform SUBSTRING   which OpenCL, which device ($POCKETCL_PLATFORM)\n"
    "  --phases NAME,NAME…                   default: prefill,decode\n"
    "  --recorded auto|on|off                steps of decode are recorded once and replayed\n"
    "                                        ($POCKETCL_RECORDED); auto measures\n"
    "  --cooperative auto|on|off             they run in one launch, on CPUs\n"
    "                                        ($POCKETCL_COOPERATIVE); auto measures\n"
    "  --priority low|normal|high            what the driver is asked for ($POCKETCL_PRIORITY)\n"
    "  --flush N                             the driver is given every N dispatches (2 on GPUs,\n"
    "                                        0: as it likes)\n"
    "  --profile                             queues that can tell when each kernel ran\n"
    "  --cache DIR                           of program binaries; '' keeps none\n"
    "  --child-builds auto|on|off            programs are built in child processes, which a driver\n"
    "                                        may kill ($POCKETCL_CHILD_BUILDS)\n"
    "  --build-limit SECONDS                 for one program in a child (180)\n"
    "  --retry-bad                           build also what this driver died of before\n"
    "  --journal FILE                        where it is noted what a driver may die of (default:\n"
    "                                        in the cache)\n";

std::string variable(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value && *value ? value : otherwise;
}

EngineOptions from_environment() {
  EngineOptions engine;
  engine.platform = variable("POCKETCL_PLATFORM", "");
  engine.cache = default_cache_folder();
  engine.recorded = variable("POCKETCL_RECORDED", "auto");
  engine.cooperative = variable("POCKETCL_COOPERATIVE", "auto");
  engine.priority = variable("POCKETCL_PRIORITY", "normal");
  engine.builds.children = variable("POCKETCL_CHILD_BUILDS", "auto");
  engine.watch_crashes = true;
  engine.program = own_program();
  return engine;
}

struct Options {
  EngineOptions engine = from_environment();
  std::vector<std::string> plans;
  std::string probe, scratch;
  bool build = false, check = false, devices = false, version = false, help = false;
};

bool one_of(const std::string &word, std::initializer_list<const char *> known) {
  for (const char *other : known)
    if (word == other) return true;
  return false;
}

// False when it is no number of at most six digits.
bool read_number(const std::string &word, int64_t &value) {
  const bool digits = word.find_first_not_of("0123456789") == std::string::npos;
  if (word.empty() || !digits || word.size() > 6) return false;
  value = atoi(word.c_str());
  return true;
}

bool sensible(Options &options, const std::string &limit, const std::string &flush) {
  EngineOptions &engine = options.engine;
  for (const std::string *wish : {&engine.recorded, &engine.cooperative, &engine.builds.children})
    if (!one_of(*wish, {"auto", "on", "off"})) return false;
  int64_t limit_s = 0;
  if (!one_of(engine.priority, {"low", "normal", "high"}) || !read_number(limit, limit_s) ||
      (!flush.empty() && !read_number(flush, engine.flush)))
    return false;
  engine.builds.limit_s = static_cast<double>(limit_s);
  const bool alone = options.devices || options.version || options.help || !options.probe.empty();
  return alone || (options.check ? !options.plans.empty() : options.plans.size() == 1);
}

// False when the command line makes no sense.
bool parse(int count, char **words, Options &options) {
  EngineOptions &engine = options.engine;
  std::string limit = "180", flush;
  const struct {
    const char *name;
    std::string *value;
  } valued[] = {{"--cl-lib", &engine.library},
                {"--platform", &engine.platform},
                {"--cache", &engine.cache},
                {"--phases", &engine.phases},
                {"--recorded", &engine.recorded},
                {"--cooperative", &engine.cooperative},
                {"--priority", &engine.priority},
                {"--child-builds", &engine.builds.children},
                {"--build-limit", &limit},
                {"--journal", &engine.journal},
                {"--flush", &flush},
                {"--probe", &options.probe},
                {"--scratch", &options.scratch}};
  const struct {
    const char *name;
    bool *flag;
  } flags[] = {{"--profile", &engine.profile},
               {"--retry-bad", &engine.builds.retry_bad},
               {"--build", &options.build},
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
  if (!options.plans.empty()) engine.plan = options.plans[0];
  return sensible(options, limit, flush);
}

void probe_device(const Options &options) {
  const EngineOptions &engine = options.engine;
  answer(probe({engine.library, engine.platform, options.probe, options.scratch}));
}

void list_devices_as_json(const Options &options) {
  const std::string library = cl::load(options.engine.library);
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

void run_plan(const EngineOptions &options) {
  Engine engine(options);
  answer("ready " + engine.facts());
  Protocol(engine.session()).serve();
}

int run(const Options &options) {
  if (options.help) return fputs(USAGE, stdout) < 0;
  if (options.version)
    return printf("pocketcl-runner %s (plan format %d)\n", VERSION, PLAN_FORMAT) < 0;
  if (options.check) return check_plans(options);
  if (options.devices) list_devices_as_json(options);
  else if (!options.probe.empty()) probe_device(options);
  else if (options.build) serve_builds(options.engine);
  else run_plan(options.engine);
  return 0;
}

int run(const Options &options, char **words) try {
  return run(options);
} catch (const cl::NoLibrary &) {
  restart_among_vendor_libraries(words);
  throw;
}

}  // namespace

int main(int count, char **words) {
  Options options;
  if (!parse(count, words, options)) return fputs(USAGE, stderr), 2;
  watch_signals();
  try {
    return run(options, words);
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
