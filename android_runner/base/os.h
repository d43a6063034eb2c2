// What the runner asks of the operating system.
#pragma once
#include <cstdint>

namespace pocket {

double now();              // seconds of a steady clock
int64_t peak_rss_bytes();  // VmHWM; 0 where the system doesn't say
int64_t available_bytes();  // MemAvailable: what can be had without swapping; 0 where it doesn't say

}  // namespace pocket
