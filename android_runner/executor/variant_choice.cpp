#include "executor/variant_choice.h"

#include <cstdio>

#include "base/failure.h"
#include "base/text.h"
#include "build/device_fit.h"

namespace pocket {
namespace {

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

void add_line(std::string &lines, const std::string &line) {
  lines += (lines.empty() ? "" : "\n") + line;
}

// Empty where they agree, or a driver can't tell: it will refuse an argument or a launch.
std::string wrong_parameters(cl::Kernel kernel, size_t args) {
  cl::Uint count = 0;
  const cl::Int code =
      cl::GetKernelInfo(kernel, cl::KERNEL_NUM_ARGS, sizeof count, &count, nullptr);
  if (code != 0 || count == args) return "";
  return "takes " + std::to_string(count) + " arguments, the plan gives " + std::to_string(args);
}

}  // namespace

// The first variant of each dispatch that may work here, as far as is known.
std::set<size_t> VariantChoice::likely_programs(const std::vector<const Phase *> &phases,
                                                bool cooperative) const {
  std::set<size_t> found;
  for (const Phase *phase : phases) {
    if (cooperative && phase->cooperative) found.insert(*phase->cooperative);
    for (const Step *step : phase->dispatches())
      for (const Variant &variant : step->variants)
        if (lack(plan_, *step, variant, device_.facts()).empty() &&
            !programs_.hopeless(variant.program)) {
          found.insert(variant.program);
          break;
        }
  }
  return found;
}

// Again and again: where a program fails, the next variant's is wanted.
void VariantChoice::build_ahead(const std::vector<const Phase *> &phases, bool cooperative) {
  std::set<size_t> known;
  std::vector<size_t> wanted;
  do {
    wanted.clear();
    for (const size_t program : likely_programs(phases, cooperative))
      if (known.insert(program).second) wanted.push_back(program);
    programs_.build_ahead(wanted);
  } while (!wanted.empty());
}

std::string VariantChoice::try_variant(const Variant &variant, size_t args,
                                       cl::Owned<cl::Kernel> &kernel) {
  const std::string name = programs_.name(variant.program);
  if (refused_.count(&variant)) return name + " is not launched here: " + refused_[&variant];
  const Programs::Build &built = programs_.get(variant.program);
  const bool known = built.log.rfind("the driver ", 0) == 0;  // to us: these are not its words
  if (!built.program)
    return name + (known ? " is not used:\n" : " does not build:\n") + excerpt(built.log);
  cl::Int code = 0;
  cl::Owned<cl::Kernel> made = make_kernel(variant, built.program.get(), code);
  if (code != 0) return name + " gives no kernel: " + cl::error_name(code);
  for (const std::string &fault :
       {wrong_parameters(made.get(), args + 2 * variant.images.size()), excess(variant, made.get(), device_.facts())})
    if (!fault.empty()) return name + " " + fault;
  kernel = std::move(made);
  return "";
}

// Some drivers compile here.
cl::Owned<cl::Kernel> VariantChoice::make_kernel(const Variant &variant, cl::Program program,
                                                 cl::Int &code) {
  const std::string &name = plan_.programs[variant.program].kernel;
  cl::Owned<cl::Kernel> made;
  programs_.risk(Journal::Build, variant.program,
                 "creating the kernel of " + programs_.name(variant.program));
  code = device_.with_memory([&] {
    cl::Int created = 0;
    made = cl::Owned<cl::Kernel>(cl::CreateKernel(program, name.c_str(), &created));
    return created;
  });
  programs_.journal().done();
  return made;
}

// Many dispatches share a variant that fails here: say it once.
void VariantChoice::note(const std::string &failures) {
  if (!failures.empty() && noted_.insert(failures).second)
    fprintf(stderr, "note: %s\nnote: the next variant is used instead\n", failures.c_str());
}

// The first variant that works; none if there is none, and then `reasons` are complete.
ChosenVariant VariantChoice::first_that_works(const Step &step, bool may_spill,
                                              std::string &reasons) {
  std::string failures;
  for (const Variant &variant : step.variants) {
    ChosenVariant chosen{&variant, {}};
    const std::string name = programs_.name(variant.program),
                      missing = lack(plan_, step, variant, device_.facts());
    std::string reason = missing.empty() ? try_variant(variant, step.args.size(), chosen.kernel)
                                         : name + " " + missing;
    const std::string spilled =
        chosen.kernel && !may_spill ? spill(chosen.kernel.get(), device_.facts()) : "";
    if (!spilled.empty()) reason = name + " " + spilled;
    if (reason.empty()) {
      note(failures);
      return chosen;
    }
    add_line(reasons, reason);
    if (missing.empty()) add_line(failures, reason);
  }
  return {nullptr, {}};
}

ChosenVariant VariantChoice::choose(const Step &step) {
  std::string reasons;
  for (const bool may_spill : {false, true}) {
    reasons.clear();
    ChosenVariant chosen = first_that_works(step, may_spill, reasons);
    if (chosen.variant) return chosen;
  }
  throw nothing_runs(step, device_.facts(), reasons, hint(reasons, device_.is_cpu()));
}

}  // namespace pocket
