#include "build/device_fit.h"

#include "build/driver_faults.h"

namespace pocket {
namespace {

const char *const COMPILE_FOR_IT = "compile the model for this device";
const char *const WITHOUT_FAULT =
    "a newer driver; or take the line out of \"drivers\" in plan.json to try it";

std::string too_much(uint64_t local, const DeviceFacts &device) {
  return std::to_string(local) + " bytes of local memory, the device has " +
         std::to_string(device.local_memory);
}

// 0 from a driver that can't tell: it will refuse the launch.
template <class T>
T ask(cl::Kernel kernel, const DeviceFacts &device, cl::Uint what) {
  T answer{};
  const cl::Int code =
      cl::GetKernelWorkGroupInfo(kernel, device.id, what, sizeof answer, &answer, nullptr);
  return code == 0 ? answer : T{};
}

}  // namespace

std::string lack(const Plan &plan, const Variant &variant, const DeviceFacts &device) {
  for (const std::string &feature : variant.requires_)
    if (!device.features.count(feature)) return "needs " + feature + ", which the device lacks";
  const auto needed = static_cast<uint64_t>(variant.local_bytes);
  if (needed > device.local_memory) return "needs " + too_much(needed, device);
  return known_fault(plan, variant, device.driver);
}

Failure nothing_runs(const Step &step, const DeviceFacts &device, const std::string &reasons,
                     const std::string &hint) {
  return Failure(
      "no variant of " + step.name + " runs on " + device.name + " (driver " + device.driver + ")",
      reasons, hint);
}

void check_fit(const Plan &plan, const std::vector<const Phase *> &phases,
               const DeviceFacts &device) {
  for (const Phase *phase : phases)
    for (const Step &step : phase->steps) {
      std::string reasons;
      bool fits = step.variants.empty(), faulty = false;
      for (const Variant &variant : step.variants) {
        const std::string missing = lack(plan, variant, device);
        fits = fits || missing.empty();
        faulty = faulty || !known_fault(plan, variant, device.driver).empty();
        reasons +=
            (reasons.empty() ? "" : "\n") + plan.program_name(variant.program) + " " + missing;
      }
      if (!fits)
        throw nothing_runs(step, device, reasons, faulty ? WITHOUT_FAULT : COMPILE_FOR_IT);
    }
}

std::string excess(const Variant &variant, cl::Kernel kernel, const DeviceFacts &device) {
  const auto taken = ask<uint64_t>(kernel, device, cl::KERNEL_LOCAL_MEM_SIZE);
  if (taken > device.local_memory) return "takes " + too_much(taken, device);
  const auto most = ask<size_t>(kernel, device, cl::KERNEL_WORK_GROUP_SIZE);
  size_t items = 1;
  for (const size_t size : variant.local) items *= size;
  const bool small = most && items > most;
  return small ? "allows work-groups of " + std::to_string(most) + " items here" : "";
}

std::string spill(cl::Kernel kernel, const DeviceFacts &device) {
  const bool cpu = device.type & cl::TYPE_CPU;
  const auto spilled = cpu ? 0 : ask<uint64_t>(kernel, device, cl::KERNEL_PRIVATE_MEM_SIZE);
  if (!spilled) return "";
  return "spills " + std::to_string(spilled) + " bytes of each work-item into memory";
}

}  // namespace pocket
