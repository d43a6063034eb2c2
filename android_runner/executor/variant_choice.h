// Which variant of each dispatch works on this device: the first one that the device has everything
// for, whose program builds and whose kernel fits.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "build/programs.h"
#include "opencl/device.h"

namespace pocket {

struct ChosenVariant {
  const Variant *variant;
  cl::Owned<cl::Kernel> kernel;
};

class VariantChoice {
 public:
  VariantChoice(const Plan &plan, const Device &device, Programs &programs)
      : plan_(plan), device_(device), programs_(programs) {}

  // Has what these phases need built by several processes at once, where there is a choice of it.
  void build_ahead(const std::vector<const Phase *> &phases, bool cooperative);

  // Throws Failure with the reason against every variant where none works. One that spills is taken
  // where no other works.
  ChosenVariant choose(const Step &step);
  // Why this variant does not work here; empty when it does, and then `kernel` is set.
  std::string try_variant(const Variant &variant, size_t args, cl::Owned<cl::Kernel> &kernel);
  // The device does not launch this variant: it is not chosen again.
  void refuse(const Variant &variant, const std::string &why) { refused_[&variant] = why; }

 private:
  std::set<size_t> likely_programs(const std::vector<const Phase *> &phases,
                                   bool cooperative) const;
  ChosenVariant first_that_works(const Step &step, bool may_spill, std::string &reasons);
  cl::Owned<cl::Kernel> make_kernel(const Variant &variant, cl::Program program, cl::Int &code);
  void note(const std::string &failures);

  const Plan &plan_;
  const Device &device_;
  Programs &programs_;
  std::map<const Variant *, std::string> refused_;  // and why
  std::set<std::string> noted_;
};

}  // namespace pocket
