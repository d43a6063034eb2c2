#include "build/programs.h"

#include <algorithm>
#include <cstdio>

#include "base/failure.h"
#include "base/files.h"
#include "opencl/linker.h"

namespace pocket {
namespace {

constexpr double PATIENCE_S = 3600;
const char *const REFUSED = "the driver refuses it";
const char *const PROOF = "computes what the compiler did";  // another's words prove nothing

// A CPU's driver is a common program: a crash has other reasons there than the kernel.
bool is_fragile(const BuildOptions &options, const DeviceFacts &facts) {
  return options.workers == "on" || !(facts.type & cl::TYPE_CPU);
}

}  // namespace

ProgramText text_of(const Plan &plan, size_t program) {
  const Program &made = plan.programs[program];
  return {made.header + read_file(plan.path(made.file)), made.options};
}

Programs::Programs(const Plan &plan, const Device &device, const ProgramCache &cache,
                   Journal &journal, BuildOptions options)
    : plan_(plan),
      facts_(device.facts()),
      cache_(cache),
      journal_(journal),
      options_(std::move(options)),
      uses_workers_(cache.usable() && !options_.command.empty() && options_.workers != "off"),
      remembers_crashes_(is_fragile(options_, device.facts())) {}

const std::string &Programs::key(size_t program) {
  std::string &key = keys_[program];
  if (key.empty()) key = cache_.key(text_of(plan_, program));
  return key;
}

void Programs::risk(Journal::Task task, size_t program, const std::string &what) {
  note_risk(task, key(program), what);
}

void Programs::risk(const std::string &what) { note_risk(Journal::Launch, key_of(what), what); }

void Programs::note_risk(Journal::Task task, const std::string &key, const std::string &what) {
  journal_.about_to(task, key, what, !cache_.noted_crash(key).empty());
}

// What is known of an earlier process; and forgotten, where it is to be tried again.
std::string Programs::remembered(const std::string &key) const {
  const std::string crash = remembers_crashes_ ? cache_.crash(key) : "";
  if (crash.empty()) return "";
  if (options_.retry_bad) {
    cache_.forget_crash(key);
    return "";
  }
  return "the driver " + crash + "\n(remembered in " + cache_.crash_file(key) +
         " for this driver; POCKETCL_RETRY_BAD=1 tries again)";
}

// Why the program is not to be used; empty where it may be.
std::string Programs::reason(size_t program) {
  const auto found = reasons_.find(program);
  return found != reasons_.end() ? found->second : reasons_[program] = remembered(key(program));
}

void Programs::learn(size_t program, const Outcome &outcome) {
  if (outcome.kind == Outcome::Built) fresh_.insert(program);
  if (outcome.kind == Outcome::Refused) reasons_[program] = REFUSED;
  if (outcome.kind == Outcome::Untried && !alone_) {
    alone_ = true;
    fprintf(stderr, "note: programs are not built in a child process: %s\n", outcome.how.c_str());
  }
  if (outcome.kind != Outcome::Died) return;  // where there were too many, one alone may do it
  const std::string crash = outcome.how + " while building " + name(program) +
                            (outcome.chatter.empty() ? "" : ":\n" + outcome.chatter);
  reasons_[program] = "the driver " + crash;
  if (remembers_crashes_) cache_.remember_crash(key(program), crash);
}

void Programs::build_ahead(const std::vector<size_t> &programs) {
  if (!uses_workers_ || alone_) return;
  std::map<std::string, size_t> missing;  // by key: programs of equal text are built once
  for (const size_t program : programs)
    if (!builds_.count(program) && reason(program).empty() && !load(program))
      missing.emplace(key(program), program);
  if (missing.empty()) return;
  check_linker(facts_);                          // a worker would abort for every program
  std::vector<std::pair<size_t, size_t>> sized;  // bytes of source, program
  for (const auto &entry : missing)
    sized.emplace_back(text_of(plan_, entry.second).source.size(), entry.second);
  // The largest first: what takes long should not begin last.
  std::sort(sized.rbegin(), sized.rend());
  std::vector<size_t> order;
  for (const auto &entry : sized) order.push_back(entry.second);
  // A CPU's compiler doesn't hang, but may be one of many programs, or emulated.
  const double limit_s = remembers_crashes_ ? options_.limit_s : PATIENCE_S;
  for (const auto &[program, outcome] : CompilePool(options_.command, limit_s).build(order))
    learn(program, outcome);
}

// Takes it from the cache; false where it isn't there, or the driver doesn't take it.
bool Programs::load(size_t program) {
  risk(Journal::Load, program, "loading the binary of " + name(program));
  Build build{cache_.load(key(program), plan_.programs[program].options), ""};
  journal_.done();
  if (!build.program) return false;
  ++(fresh_.count(program) ? built : cached);
  builds_.emplace(program, std::move(build));
  return true;
}

// A program that a worker could not build is built here again for the driver's words.
Programs::Build Programs::make(size_t program) {
  Build build;
  risk(Journal::Build, program, "building " + name(program));
  build.program = cache_.build(text_of(plan_, program), build.log);
  if (build.program) ++built;
  journal_.done();
  return build;
}

bool Programs::proven(size_t program) {
  if (proven_.count(program)) return true;
  const bool known = !options_.retry_bad && cache_.proof(key(program)).rfind(PROOF, 0) == 0;
  if (known) proven_.insert(program);
  return known;
}

void Programs::prove(size_t program) {
  proven_.insert(program);
  cache_.remember_proof(key(program), PROOF);
}

void Programs::reject(size_t program, const std::string &why) {
  rejected_.insert(program);
  reasons_[program] = "the driver " + why;
  cache_.remember_crash(key(program), why);
  builds_[program] = {{}, reasons_[program]};
}

const Programs::Build &Programs::get(size_t program) {
  if (!builds_.count(program)) build_ahead({program});  // which takes it from the cache, if it can
  const std::string crash = builds_.count(program) ? "" : reason(program);
  const bool may_try = crash.empty() || crash == REFUSED;
  if (!builds_.count(program) && (!may_try || !load(program)))
    builds_.emplace(program, may_try ? make(program) : Build{{}, crash});
  return builds_.at(program);
}

}  // namespace pocket
