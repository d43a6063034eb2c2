// What the runner asks of the operating system.
#pragma once
#include <cstdint>

namespace pocket {

double now();              // seconds of a steady clock
int64_t peak_rss_bytes();  // VmHWM; 0 where the system doesn't say

}  // namespace pocket
