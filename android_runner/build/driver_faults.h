// Known faults of drivers, by the version of their compiler: those that a plan carries. The rules
// are those of toolkit/devices/driver_faults.py; tests/runner/driver_versions.json tests both.
#pragma once
#include <string>

#include "plan/plan.h"

namespace pocket {

// `driver`: CL_DRIVER_VERSION, "… Compiler E031.47.18.36".
bool concerns(const DriverFault &fault, const std::string &driver);

// Why the variant is passed over with this driver; empty where no fault of it is known.
std::string known_fault(const Plan &plan, const Variant &variant, const std::string &driver);

}  // namespace pocket
