// pocketcl-runner: runs a compiled plan on an OpenCL device. protocol.h has the commands that it
// reads from stdin.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine.h"
#include "json.h"
#include "protocol.h"

namespace {

using namespace pocket;

const char *const USAGE =
    "usage: pocketcl-runner PLAN [--cl-lib PATH] [--platform SUBSTRING] [--cache DIR] [--phases "
    "NAME,NAME…] [--recorded auto|on|off] [--cooperative "
    "auto|on|off] [--profile]\n"
    "       pocketcl-runner --check PLAN…     loads and checks plans, without OpenCL\n"
    "       pocketcl-runner --devices | --version | --help\n"
    "PLAN is a plan's folder. --cache '' keeps no program binaries. --phases defaults to "
    "prefill,decode. --recorded (or $POCKETCL_RECORDED): whether steps of decode are recorded "
    "once\n"
    "and replayed. --cooperative (or $POCKETCL_COOPERATIVE): whether they run in one launch, on "
    "CPUs.\n"
    "Both: auto measures. --profile: queues that can tell when each kernel ran.\n";

std::string variable(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

EngineOptions from_environment() {
  EngineOptions engine;
  engine.platform = variable("POCKETCL_PLATFORM");
  engine.cache = default_cache_folder();
  engine.recorded = variable("POCKETCL_RECORDED");
  engine.cooperative = variable("POCKETCL_COOPERATIVE");
  return engine;
}

struct Options {
  EngineOptions engine = from_environment();
  std::vector<std::string> plans;
  bool check = false, devices = false, version = false, help = false;
};

// False when the command line makes no sense.
bool parse(int count, char **words, Options &options) {
  const struct {
    const char *name;
    std::string *value;
  } valued[] = {
      {"--cl-lib", &options.engine.library},    {"--platform", &options.engine.platform},
      {"--cache", &options.engine.cache},       {"--phases", &options.engine.phases},
      {"--recorded", &options.engine.recorded}, {"--cooperative", &options.engine.cooperative}};
  const struct {
    const char *name;
    bool *flag;
  } flags[] = {{"--profile", &options.engine.profile},
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
  for (std::string *wish : {&options.engine.recorded, &options.engine.cooperative}) {
    if (wish->empty()) *wish = "auto";
    if (*wish != "auto" && *wish != "on" && *wish != "off") return false;
  }
  const bool alone = options.devices || options.version || options.help;
  return alone || (options.check ? !options.plans.empty() : options.plans.size() == 1);
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

void run_plan(EngineOptions options, const std::string &plan) {
  options.plan = plan;
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
  else run_plan(options.engine, options.plans[0]);
  return 0;
}

}  // namespace

int main(int count, char **words) {
  Options options;
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
