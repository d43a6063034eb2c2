// Cores of this process that are worth computing on.
#pragma once
#include <cstddef>
#include <vector>

namespace pocket {

// Of those that it may use: the ones that are at least half as fast as the fastest, as far as the
// system tells; else all. None where it doesn't tell which ones there are.
std::vector<size_t> fast_cores();
// The calling thread keeps to these; where there are none, or the system refuses, it goes where it is
// sent.
void keep_to(const std::vector<size_t> &cores);

}  // namespace pocket
