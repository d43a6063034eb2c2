// pocketcl-runner: runs a compiled plan on an OpenCL device. protocol.h has the commands that it
// reads from stdin.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <iterator>

#include "base/json.h"
#include "base/self_exec.h"
#include "build/compile_pool.h"
#include "opencl/cl_library.h"
#include "probe/probe.h"
#include "program/protocol.h"
#include "session/engine.h"

namespace {

using namespace pocket;

const char *const USAGE =
    "usage: pocketcl-runner PLAN [OPTION]…       runs the plan in this folder\n"
    "       pocketcl-runner --check PLAN…        loads and checks plans, without OpenCL\n"
    "       pocketcl-runner PLAN --build         builds programs, whose numbers are read from "
    "stdin\n"
    "       pocketcl-runner --probe FILE.cl [--scratch DIR]   measures a device with the kernels\n"
    "                                         of rates.cl and probe.cl, and the storage of DIR\n"
    "       pocketcl-runner --probe FILE.cl --frames MS       draws a frame every MS, as a screen\n"
    "       pocketcl-runner --devices | --version | --help\n"
    "--cl-lib PATH ($POCKETCL_CL_LIB)     the OpenCL library; else the first that lists a "
    "platform\n"
    "--platform TEXT ($POCKETCL_PLATFORM) part of a platform's or device's name\n"
    "--phases NAME,NAME…                  what is loaded beside prefill and decode\n"
    "--cache DIR                          of program binaries; '' keeps none\n"
    "--recorded auto|on|off ($POCKETCL_RECORDED)        steps of decode are recorded and replayed\n"
    "--cooperative auto|on|off ($POCKETCL_COOPERATIVE)  they run in one launch, on CPUs; auto "
    "measures both\n"
    "--child-builds auto|on|off ($POCKETCL_CHILD_BUILDS)  programs are built by child processes. "
    "What a GPU's\n"
    "                                     driver dies of is remembered in the cache; on: of any "
    "driver\n"
    "--build-limit SECONDS                for one program in a child; 180\n"
    "--retry-bad ($POCKETCL_RETRY_BAD=1)  what a driver died of is tried again\n"
    "--journal FILE                       notes what a driver may die of; else in the cache\n"
    "--priority low|normal|high ($POCKETCL_PRIORITY)    what the driver is asked for; normal\n"
    "--power low|normal|high ($POCKETCL_POWER)          clocks, likewise; high with a high priority\n"
    "--slice MICROSECONDS                 what the device is given at once; 4000 on GPUs, 0: all\n"
    "--memory BYTES|auto                  of plans with weights in flash: what they may take; auto: of\n"
    "                                     what the system has, looked at again and again\n"
    "--overlap cluster|matrix|off         what a gather's launches wait for: own reads, or all of them,\n"
    "                                     as many as are held at once\n"
    "--engine device|threads|both         what computes weights in flash; both: threads what is read,\n"
    "                                     the device what was in memory\n"
    "--flash PROFILE                      reads imitate a flash: ufs40, ufs31, ufs21, m1max, a18\n"
    "--warm DIR                           keeps what of such plans is in memory at the end, and begins\n"
    "                                     with that; '' or not given: neither\n"
    "--trace-access FILE                  gets a line for each gather, FILE.scores what it chose by\n"
    "--profile                            queues that can tell when each kernel ran\n";

std::string variable(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

EngineOptions from_environment() {
  EngineOptions engine;
  engine.platform = variable("POCKETCL_PLATFORM");
  engine.library = variable("POCKETCL_CL_LIB");
  engine.cache = default_cache_folder();
  engine.builds.workers = variable("POCKETCL_CHILD_BUILDS");
  engine.builds.retry_bad = !variable("POCKETCL_RETRY_BAD").empty();
  engine.hints = {variable("POCKETCL_PRIORITY"), variable("POCKETCL_POWER")};
  engine.recorded = variable("POCKETCL_RECORDED");
  engine.cooperative = variable("POCKETCL_COOPERATIVE");
  return engine;
}

struct Options {
  EngineOptions engine = from_environment();
  std::vector<std::string> plans;
  std::string probe, scratch;
  std::string limit, slice, frames, memory;
  int period_ms = 0;  // of a client that draws
  bool build = false, check = false, devices = false, version = false, help = false;
};

bool one_of(std::string &value, std::initializer_list<const char *> words, const char *otherwise) {
  if (value.empty()) value = otherwise;
  return std::find(words.begin(), words.end(), value) != words.end();
}

bool number(const std::string &word, int &value) {
  if (!word.empty()) value = atoi(word.c_str());
  return word.size() < 7 && word.find_first_not_of("0123456789") == std::string::npos;
}

bool bytes(const std::string &word, std::optional<int64_t> &value) {
  if (!word.empty()) value = strtoll(word.c_str(), nullptr, 10);
  return word.size() < 17 && word.find_first_not_of("0123456789") == std::string::npos;
}

const auto LEVELS = {"low", "normal", "high"};

// False where a value makes no sense.
bool understood(Options &options) {
  EngineOptions &engine = options.engine;
  int limit = static_cast<int>(engine.builds.limit_s);
  bool good =
      number(options.limit, limit) && limit > 0 && number(options.slice, engine.slice_us) &&
      number(options.frames, options.period_ms);
  engine.builds.limit_s = limit;
  engine.gather.automatic = options.memory == "auto";
  good = (engine.gather.automatic || bytes(options.memory, engine.gather.memory)) && good;
  for (std::string *wish : {&engine.recorded, &engine.cooperative, &engine.builds.workers})
    good = one_of(*wish, {"auto", "on", "off"}, "auto") && good;
  good = (engine.hints.power.empty() || one_of(engine.hints.power, LEVELS, "")) && good;
  return one_of(engine.hints.priority, LEVELS, "normal") && good;
}

// False when the command line makes no sense.
bool parse(int count, char **words, Options &options) {
  const struct {
    const char *name;
    std::string *value;
  } valued[] = {{"--cl-lib", &options.engine.library},
                {"--platform", &options.engine.platform},
                {"--cache", &options.engine.cache},
                {"--phases", &options.engine.phases},
                {"--recorded", &options.engine.recorded},
                {"--cooperative", &options.engine.cooperative},
                {"--priority", &options.engine.hints.priority},
                {"--power", &options.engine.hints.power},
                {"--child-builds", &options.engine.builds.workers},
                {"--build-limit", &options.limit},
                {"--journal", &options.engine.journal},
                {"--slice", &options.slice},
                {"--memory", &options.memory},
                {"--flash", &options.engine.flash},
                {"--overlap", &options.engine.gather.overlap},
                {"--engine", &options.engine.gather.engine},
                {"--trace-access", &options.engine.gather.trace},
                {"--warm", &options.engine.gather.warm},
                {"--frames", &options.frames},
                {"--probe", &options.probe},
                {"--scratch", &options.scratch}};
  const struct {
    const char *name;
    bool *flag;
  } flags[] = {{"--profile", &options.engine.profile},
               {"--retry-bad", &options.engine.builds.retry_bad},
               {"--build", &options.build},
               {"--check", &options.check},
               {"--devices", &options.devices},
               {"--version", &options.version},
               {"--help", &options.help}};
  for (int i = 1; i < count; ++i) {
    const auto named = [&](const auto &option) { return strcmp(words[i], option.name) == 0; };
    const auto value = std::find_if(std::begin(valued), std::end(valued), named);
    const auto flag = std::find_if(std::begin(flags), std::end(flags), named);
    if (value != std::end(valued) && i + 1 < count) *value->value = words[++i];
    else if (flag != std::end(flags)) *flag->flag = true;
    else if (words[i][0] == '-') return false;
    else options.plans.push_back(words[i]);
  }
  if (!understood(options)) return false;
  const bool alone = options.devices || options.version || options.help || !options.probe.empty();
  if (!options.plans.empty()) options.engine.plan = options.plans[0];
  return alone || (options.check ? !options.plans.empty() : options.plans.size() == 1);
}

void list_devices_as_json(const Options &options) {
  const std::string library = cl::load(options.engine.library);
  std::string list;
  for (const DeviceFacts &facts : list_devices()) list += (list.empty() ? "" : ", ") + facts.json();
  answer(Record().add("library", library).raw("devices", "[" + list + "]").text());
}

void probe_device(const Options &options) {
  const EngineOptions &engine = options.engine;
  const ProbeOptions asked = {engine.library, engine.platform, options.probe, options.scratch};
  const auto say = [](const std::string &line) { answer(line); };
  if (options.period_ms > 0) serve_frames(asked, 1e-3 * options.period_ms, say);
  else answer(probe(asked));
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

// How a worker is started that builds what this process needs.
std::vector<std::string> worker_command(const EngineOptions &options) {
  std::vector<std::string> command = {own_program(), options.plan, "--build", "--cache",
                                      options.cache};
  for (const auto &[name, value] :
       {std::pair<const char *, std::string>{"--cl-lib", options.library},
        {"--platform", options.platform}})
    if (!value.empty()) command.insert(command.end(), {name, value});
  return command;
}

void run_plan(EngineOptions options) {
  options.builds.command = worker_command(options);
  options.watch_crashes = true;
  Engine engine(options);
  answer("ready " + engine.facts());
  Protocol(engine.session()).serve();
}

void build_programs(const EngineOptions &options) {
  const Plan plan = load_plan(options.plan);
  cl::load(options.library);
  const Device device(options.platform, plan.device_class);
  serve_builds(plan, device, ProgramCache(options.cache, device));
}

int run(const Options &options) {
  if (options.help) return fputs(USAGE, stdout) < 0;
  if (options.version)
    return printf("pocketcl-runner %s (plan format %d)\n", VERSION, PLAN_FORMAT) < 0;
  if (options.check) return check_plans(options);
  if (options.devices) list_devices_as_json(options);
  else if (!options.probe.empty()) probe_device(options);
  else if (options.build) build_programs(options.engine);
  else run_plan(options.engine);
  return 0;
}

}  // namespace

int main(int count, char **words) {
  Options options;
  if (!parse(count, words, options)) {
    fputs(USAGE, stderr);
    return 2;
  }
  watch_signals();
  try {
    return run(options);
  } catch (const cl::NoLibrary &failure) {
    restart_among_vendor_libraries(words);
    answer(failure);
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
