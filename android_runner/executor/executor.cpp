#include "executor/executor.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/failure.h"
#include "base/text.h"
#include "build/device_fit.h"

namespace pocket {
namespace {

constexpr size_t SHORT_LAUNCHES = 8;  // of one position take about the time of one of a chunk

// The lines of a driver's log that matter: from the first error on, at most six.
std::string excerpt(const std::string &log) {
  std::string out;
  int taken = 0;
  for (const std::string &line : pieces(log, "\n")) {
    if (taken == 0 && log.find("error") != std::string::npos &&
        line.find("error") == std::string::npos)
      continue;
    if (taken == 6) break;
    out += (taken++ ? "\n" : "") + line.substr(0, 200);
  }
  return out;
}

std::string hint(const std::string &reasons, bool cpu) {
  const auto says = [&](const char *word) { return reasons.find(word) != std::string::npos; };
  if (says("unknown target CPU"))
    return "this PoCL is older than the processor: apt-get install pocl-opencl-icd";
  if (cpu && says("SIGABRT")) return "apt-get install binutils: PoCL aborts where there is no `ld`";
  if (says("the driver "))
    return "a newer driver, POCKETCL_RETRY_BAD=1 to try again, or compile for this device";
  return "edit the .cl file in the plan, or compile the model for this device";
}

}  // namespace

Executor::Executor(const Plan &plan, Device &device, const Memory &memory, Programs &programs,
                   size_t flush_every)
    : plan_(plan),
      device_(device),
      memory_(memory),
      programs_(programs),
      flush_every_(flush_every),
      phases_(plan.phases.size()) {}

// The first variant of each dispatch that may work here, as far as is known.
std::set<size_t> Executor::likely_programs(const std::vector<const Phase *> &phases,
                                           bool cooperative) {
  std::set<size_t> found;
  for (const Phase *phase : phases) {
    if (cooperative && phase->cooperative) found.insert(*phase->cooperative);
    for (const Step &step : phase->steps)
      for (const Variant &variant : step.variants)
        if (lack(variant, device_.facts()).empty() && !programs_.hopeless(variant.program)) {
          found.insert(variant.program);
          break;
        }
  }
  return found;
}

// Again and again: where a program fails, the next variant's is wanted.
void Executor::prepare(const std::vector<const Phase *> &phases, bool cooperative) {
  std::set<size_t> known;
  for (bool more = true; more;) {
    more = false;
    std::vector<size_t> wanted;
    for (const size_t program : likely_programs(phases, cooperative))
      if (known.insert(program).second) wanted.push_back(program), more = true;
    programs_.prepare(wanted);
  }
}

// Why this variant does not work here; empty when it does, and then `kernel` is set.
std::string Executor::refusal(const Variant &variant, cl::Owned<cl::Kernel> &kernel, size_t args) {
  const Program &program = plan_.programs[variant.program];
  const std::string name = programs_.name(variant.program);
  const Programs::Build &built = programs_.get(variant.program);
  if (!built.program) return name + " does not build:\n" + excerpt(built.log);
  cl::Int code = 0;
  programs_.risk(Journal::Build, variant.program, "creating the kernel of " + name);
  cl::Owned<cl::Kernel> made(cl::CreateKernel(built.program.get(), program.kernel.c_str(), &code));
  programs_.journal().done();
  if (code != 0) return name + " gives no kernel: " + cl::error_name(code);
  cl::Uint parameters = 0;  // a driver that can't tell will refuse an argument or a launch
  if (cl::GetKernelInfo(made.get(), cl::KERNEL_NUM_ARGS, sizeof parameters, &parameters, nullptr) ==
          0 &&
      parameters != args)
    return name + " takes " + std::to_string(parameters) + " arguments, the plan gives " +
           std::to_string(args);
  const std::string beyond = excess(variant, made.get(), device_.facts());
  if (!beyond.empty()) return name + " " + beyond;
  kernel = std::move(made);
  return "";
}

// Many dispatches share a variant that fails here: say it once.
void Executor::note(const std::string &failures) {
  if (!failures.empty() && noted_.insert(failures).second)
    fprintf(stderr, "note: %s\nnote: the next variant is used instead\n", failures.c_str());
}

Launch Executor::load_step(const Step &step, const LoadedPhase &loaded) {
  Launch launch{{}, step.queue, nullptr, {1, 1, 1}, {1, 1, 1}};
  std::string reasons, failures;
  for (const Variant &variant : step.variants) {
    const std::string lacking = lack(variant, device_.facts());
    const std::string reason = lacking.empty()
                                   ? refusal(variant, launch.kernel, step.args.size())
                                   : programs_.name(variant.program) + " " + lacking;
    if (reason.empty()) {
      launch.variant = &variant;
      launch.step = &step;
      launch.program = &plan_.programs[variant.program];
      std::copy(variant.local.begin(), variant.local.end(), launch.local);
      bind(step, loaded, launch);
      note(failures);
      return launch;
    }
    reasons += (reasons.empty() ? "" : "\n") + reason;
    if (lacking.empty()) failures += (failures.empty() ? "" : "\n") + reason;
  }
  throw Failure("no variant of " + step.name + " runs on " + device_.facts().name + " (driver " +
                    device_.facts().driver + ")",
                reasons, hint(reasons, device_.is_cpu()));
}

void Executor::bind(const Step &step, const LoadedPhase &loaded, Launch &launch) const {
  for (size_t i = 0; i < step.args.size(); ++i) {
    const Argument &arg = step.args[i];
    const cl::Memory memory = arg.kind == Argument::Symbols   ? memory_.symbols()
                              : arg.kind == Argument::Scratch ? loaded.scratch[arg.index].get()
                              : arg.kind == Argument::Weight  ? memory_.weight(arg.index)
                                                              : memory_.buffer(arg.index);
    launch.args.push_back(memory);
    const cl::Int code =
        cl::SetKernelArg(launch.kernel.get(), static_cast<cl::Uint>(i), sizeof memory, &memory);
    if (code != 0)
      throw Failure("argument " + std::to_string(i) + " of " + step.name + " is not accepted",
                    cl::error_name(code),
                    "compile the model again, or undo the last edit of its .cl file");
  }
}

void Executor::load(const Phase &phase) {
  LoadedPhase &loaded = this->loaded(phase);
  loaded.phase = &phase;
  for (const Scratch &scratch : phase.scratch) loaded.scratch.push_back(memory_.scratch(scratch));
  for (const Step &step : phase.steps) {
    if (step.kind == Step::Fetch) continue;  // the session reads what it needs, when it needs it
    device_.need_queues(step.queue + 1);
    if (step.kind == Step::Wait) loaded.launches.push_back({{}, step.queue, nullptr, {}, {}});
    else loaded.launches.push_back(load_step(step, loaded));
  }
  // The session reads from queue 0 in order: a wait for it at the end would only stall the token
  // loop.
  while (!loaded.launches.empty() && !loaded.launches.back().kernel &&
         loaded.launches.back().queue == 0)
    loaded.launches.pop_back();
  divide(loaded);
}

// Sizes that never change are computed now, the others noted; and launches become pieces: maximal
// runs of dispatches of one queue, and the waits between them.
void Executor::divide(LoadedPhase &loaded) const {
  std::set<size_t> slots;
  for (size_t i = 0; i < loaded.launches.size(); ++i) {
    Launch &launch = loaded.launches[i];
    for (size_t axis = 0; launch.kernel && axis < launch.variant->global.size(); ++axis) {
      const Expr &size = launch.variant->global[axis];
      bool fixed = true;
      for (const Token &token : size)
        if (token.op == Token::Symbol)
          slots.insert(static_cast<size_t>(token.value)), fixed = false;
      if (fixed) launch.global[axis] = extent(size, {});
      else loaded.sized.push_back({i, axis, &size});
    }
  }
  loaded.grid_symbols.assign(slots.begin(), slots.end());
  loaded.sized_for.assign(slots.size(), INT64_MIN);
  // Launches of one position are short: they may wait for more of each other.
  const size_t flush_every = flush_every_ * (loaded.phase->recordable ? SHORT_LAUNCHES : 1);
  const Launch *at = loaded.launches.data(), *const end = at + loaded.launches.size();
  while (at != end) {
    const Launch *next = at + 1;
    while (at->kernel && next != end && next->kernel && next->queue == at->queue) ++next;
    const Run run{device_.queue(at->queue), at, at->kernel ? next : at};
    loaded.pieces.push_back({run, {at->kernel ? enqueue_plainly(run, flush_every) : nullptr}});
    at = next;
  }
}

bool Executor::has(const std::string &name) const {
  const Phase *phase = plan_.phase(name);
  return phase && phases_[phase - plan_.phases.data()].phase;
}

int64_t Executor::dispatches(const std::string &phase) const {
  int64_t count = 0;
  for (const Launch &launch : phases_[plan_.phase(phase) - plan_.phases.data()].launches)
    count += launch.kernel ? 1 : 0;
  return count;
}

// Nothing is done where no symbol changed that a size depends on, nothing is recorded again where
// no size changed.
void Executor::size_grids(LoadedPhase &loaded, const std::vector<int64_t> &symbols) const {
  bool stale = false, changed = false;
  for (size_t i = 0; i < loaded.grid_symbols.size(); ++i) {
    const int64_t value = symbols[loaded.grid_symbols[i]];
    stale = stale || loaded.sized_for[i] != value;
    loaded.sized_for[i] = value;
  }
  if (!stale) return;
  for (const Sized &sized : loaded.sized) {
    const size_t size = extent(*sized.size, symbols);
    size_t &now = loaded.launches[sized.launch].global[sized.axis];
    changed = changed || now != size;
    now = size;
  }
  for (const Piece &piece : loaded.pieces)
    for (const auto &way : piece.ways)
      if (changed && way) way->resize();
}

void Executor::send(LoadedPhase &loaded, const std::vector<int64_t> &symbols, Way way) {
  size_grids(loaded, symbols);
  if (!loaded.tried && way == Way::Plain && !profile_) return send_carefully(loaded);
  if (profile_) profile_->begin(loaded.phase->name);
  for (const Piece &piece : loaded.pieces) {
    if (!piece.at(Way::Plain)) cl::check(cl::Finish(piece.run.queue), "clFinish");
    else piece.at(way)->send(profile_.get());
  }
}

// The first time: a program's first launch ends before the next is sent, so that the journal of a
// driver that dies names it.
void Executor::send_carefully(LoadedPhase &loaded) {
  std::set<const Program *> seen;
  for (const Launch &launch : loaded.launches) {
    const cl::Queue queue = device_.queue(launch.queue);
    const bool first = launch.kernel && !launch.empty() && seen.insert(launch.program).second;
    if (first)
      programs_.risk(Journal::Launch, launch.variant->program,
                     "launching " + launch.step->name +
                         " for the first time: " + programs_.name(launch.variant->program));
    if (launch.kernel) enqueue(queue, launch);
    if (first || !launch.kernel) cl::check(cl::Finish(queue), "clFinish");
  }
  programs_.journal().done();
  loaded.tried = true;
}

void Executor::run(const Phase &phase, const std::vector<int64_t> &symbols) {
  LoadedPhase &loaded = this->loaded(phase);
  send(loaded, symbols, profile_ ? Way::Plain : loaded.pace.next());
}

void Executor::start_profile() {
  if (!device_.profiling())
    throw Failure("kernel times are not taken", "the runner was started without --profile",
                  "start it with --profile");
  profile_ = std::make_unique<Profile>();
}

std::string Executor::take_profile() {
  if (!profile_) throw Failure("no profile was started", "profile alone starts one", "profile");
  device_.wait();
  const std::unique_ptr<Profile> taken = std::move(profile_);
  return taken->json();
}

}  // namespace pocket
