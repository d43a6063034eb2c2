#include "opencl/queue_priority.h"

namespace pocket {
namespace {

constexpr uint64_t KHR_HIGH = 1, KHR_LOW = 4;     // of CL_QUEUE_PRIORITY_KHR
constexpr cl::Props QCOM_HIGH = 1, QCOM_LOW = 3;  // counted from the name of the property

}  // namespace

bool lists(const std::string &extensions, const std::string &name) {
  return (" " + extensions + " ").find(" " + name + " ") != std::string::npos;
}

// Qualcomm's own priority only where there is not Khronos': one belongs to the context, one to the
// queue, and nobody says which would win.
Hints priority_hints(const std::string &priority, const std::string &extensions) {
  Hints hints;
  if (priority == "normal") return hints;
  const bool high = priority == "high";
  const cl::Props step = high ? QCOM_HIGH : QCOM_LOW;
  if (lists(extensions, "cl_khr_priority_hints") && cl::CreateCommandQueueWithProperties)
    hints.queue = {cl::QUEUE_PRIORITY, high ? KHR_HIGH : KHR_LOW};
  else if (lists(extensions, "cl_qcom_priority_hint"))
    hints.context = {cl::CONTEXT_PRIORITY_HINT, cl::CONTEXT_PRIORITY_HINT + step};
  if (high && lists(extensions, "cl_qcom_perf_hint"))
    hints.context.insert(hints.context.end(),
                         {cl::CONTEXT_PERF_HINT, cl::CONTEXT_PERF_HINT + step});
  return hints;
}

}  // namespace pocket
