#include "build/device_fit.h"

#include <algorithm>

#include "build/driver_faults.h"
#include "opencl/cl_library.h"
#include "opencl/device_features.h"

namespace pocket {
namespace {

constexpr size_t SHUFFLED = 16;  // items of a sub-group that `shuffles` means; Bifrost has 4 or 8
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

// Items of a sub-group; 0 from a driver that can't tell.
size_t sub_group(const Variant &variant, cl::Kernel kernel, const DeviceFacts &device) {
  const bool new_enough = opencl_version(device.id) >= 21;
  if (!new_enough && !cl::load_sub_groups(device.platform)) return 0;
  const auto get = new_enough ? cl::GetKernelSubGroupInfo : cl::GetKernelSubGroupInfoKHR;
  size_t size = 0;
  const cl::Int code = get(kernel, device.id, cl::KERNEL_MAX_SUB_GROUP_SIZE_FOR_NDRANGE,
                           variant.local.size() * sizeof variant.local[0], variant.local.data(),
                           sizeof size, &size, nullptr);
  return code == 0 ? size : 0;
}

// That shuffles would reach beyond its sub-groups, or may: their size is the compiler's choice.
std::string narrow(const Variant &variant, cl::Kernel kernel, const DeviceFacts &device) {
  const auto &needs = variant.requires_;
  if (std::find(needs.begin(), needs.end(), "shuffles") == needs.end()) return "";
  const size_t size = sub_group(variant, kernel, device);
  if (size >= SHUFFLED) return "";
  return (size ? "has sub-groups of " + std::to_string(size) + " items here"
               : "has sub-groups of unknown size") +
         ", its shuffles need " + std::to_string(SHUFFLED);
}

}  // namespace

std::string lack(const Plan &plan, const Step &step, const Variant &variant,
                 const DeviceFacts &device) {
  for (const std::string &feature : variant.requires_)
    if (!device.features.count(feature)) return "needs " + feature + ", which the device lacks";
  const auto needed = static_cast<uint64_t>(variant.local_bytes);
  if (needed > device.local_memory) return "needs " + too_much(needed, device);
  for (const size_t number : variant.images) {
    const auto texels = static_cast<size_t>(bytes_around(plan, step.args[number]) / TEXEL);
    if (texels > std::min<size_t>(device.image_texels, INT32_MAX))  // kernels count them by int
      return "needs an image of " + std::to_string(texels) + " texels, the device allows " +
             std::to_string(device.image_texels);
  }
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
    for (const Step *step : phase->dispatches()) {
      std::string reasons;
      bool fits = false, faulty = false;
      for (const Variant &variant : step->variants) {
        const std::string missing = lack(plan, *step, variant, device);
        fits = fits || missing.empty();
        faulty = faulty || !known_fault(plan, variant, device.driver).empty();
        reasons +=
            (reasons.empty() ? "" : "\n") + plan.program_name(variant.program) + " " + missing;
      }
      if (!fits)
        throw nothing_runs(*step, device, reasons, faulty ? WITHOUT_FAULT : COMPILE_FOR_IT);
    }
}

std::string excess(const Variant &variant, cl::Kernel kernel, const DeviceFacts &device) {
  const auto taken = ask<uint64_t>(kernel, device, cl::KERNEL_LOCAL_MEM_SIZE);
  if (taken > device.local_memory) return "takes " + too_much(taken, device);
  const auto most = ask<size_t>(kernel, device, cl::KERNEL_WORK_GROUP_SIZE);
  size_t items = 1;
  for (const size_t size : variant.local) items *= size;
  const bool small = most && items > most;
  if (small) return "allows work-groups of " + std::to_string(most) + " items here";
  return narrow(variant, kernel, device);
}

std::string spill(cl::Kernel kernel, const DeviceFacts &device) {
  const bool cpu = device.type & cl::TYPE_CPU;
  const auto spilled = cpu ? 0 : ask<uint64_t>(kernel, device, cl::KERNEL_PRIVATE_MEM_SIZE);
  if (!spilled) return "";
  return "spills " + std::to_string(spilled) + " bytes of each work-item into memory";
}

}  // namespace pocket
