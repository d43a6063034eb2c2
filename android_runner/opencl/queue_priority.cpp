#include "opencl/queue_priority.h"

#include "opencl/cl_info.h"

namespace pocket {
namespace {

constexpr uint64_t KHR_HIGH = 1, KHR_LOW = 4;                      // of CL_QUEUE_PRIORITY_KHR
constexpr cl::Props QCOM_HIGH = 1, QCOM_NORMAL = 2, QCOM_LOW = 3;  // from the property's name on
constexpr cl::Bits UNIT_LIMIT = 1 << 7;  // CL_DEVICE_SCHEDULING_COMPUTE_UNIT_LIMIT_ARM

cl::Props step_of(const std::string &power) {
  return power == "high" ? QCOM_HIGH : power == "low" ? QCOM_LOW : QCOM_NORMAL;
}

// Of Arm's cl_arm_scheduling_controls, which has had it since 0.6.
bool limits_units(const DeviceFacts &facts) {
  cl::Bits controls = 0;
  return cl::GetDeviceInfo(facts.id, cl::DEVICE_SCHEDULING_CONTROLS_ARM, sizeof controls, &controls,
                           nullptr) == 0 &&
         controls & UNIT_LIMIT;
}

}  // namespace

bool lists(const std::string &extensions, const std::string &name) {
  return (" " + extensions + " ").find(" " + name + " ") != std::string::npos;
}

// Qualcomm's own priority only where there is not Khronos': one belongs to the context, one to the
// queue, and nobody says which would win.
Hints hints_for(const HintWishes &wishes, const DeviceFacts &facts) {
  Hints hints;
  const std::string all = cl::info_text(cl::GetDeviceInfo, facts.id, cl::DEVICE_EXTENSIONS);
  const bool high = wishes.priority == "high", low = wishes.priority == "low";
  const bool queues = cl::CreateCommandQueueWithProperties;
  if ((high || low) && queues && lists(all, "cl_khr_priority_hints"))
    hints.queue = {cl::QUEUE_PRIORITY, high ? KHR_HIGH : KHR_LOW};
  else if ((high || low) && lists(all, "cl_qcom_priority_hint"))
    hints.context = {cl::CONTEXT_PRIORITY_HINT,
                     cl::CONTEXT_PRIORITY_HINT + (high ? QCOM_HIGH : QCOM_LOW)};
  if (low && queues && facts.compute_units > 1 && lists(all, "cl_arm_scheduling_controls") &&
      limits_units(facts))
    hints.queue.insert(hints.queue.end(), {cl::QUEUE_UNIT_LIMIT_ARM, facts.compute_units - 1});
  const std::string &power = wishes.power.empty() && high ? wishes.priority : wishes.power;
  if (!power.empty() && lists(all, "cl_qcom_perf_hint"))
    hints.context.insert(hints.context.end(),
                         {cl::CONTEXT_PERF_HINT, cl::CONTEXT_PERF_HINT + step_of(power)});
  return hints;
}

}  // namespace pocket
