// Whether a variant of a dispatch can run on a device, before and after it is built. The Python
// executor asks the same in toolkit/executors/opencl/device_fit.py.
#pragma once
#include <string>
#include <vector>

#include "base/failure.h"
#include "opencl/device.h"
#include "plan/plan.h"

namespace pocket {

// What the plan says that a variant needs, and the device hasn't, or has with a known fault; empty
// where it has all.
std::string lack(const Plan &plan, const Step &step, const Variant &variant,
                 const DeviceFacts &device);

// Throws Failure where a dispatch has no variant that the device has everything for: before
// anything is allocated or built.
void check_fit(const Plan &plan, const std::vector<const Phase *> &phases,
               const DeviceFacts &device);
Failure nothing_runs(const Step &step, const DeviceFacts &device, const std::string &reasons,
                     const std::string &hint);

// What a built kernel takes beyond what the device has, edited or by its driver; else empty.
std::string excess(const Variant &variant, cl::Kernel kernel, const DeviceFacts &device);

// That a GPU keeps in memory what a work-item should have in registers: right, and slow. Empty
// where it doesn't; on a processor private memory lies in its caches anyway.
std::string spill(cl::Kernel kernel, const DeviceFacts &device);

}  // namespace pocket
