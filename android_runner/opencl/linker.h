// `ld`: PoCL links what it compiles with it, and aborts the process where there is none.
#pragma once
#include "opencl/device.h"

namespace pocket {

void check_linker(const DeviceFacts &device);  // throws Failure where PoCL can't build

}  // namespace pocket
