// What the structs of include/pocketcl.h mean to the runner. Throws Failure.
#pragma once
#include <cstdint>
#include <vector>

#include "include/pocketcl.h"
#include "session/engine.h"

namespace pocket {

EngineOptions engine_options(const pocketcl_options *given);

// The words of sampling.clh in opencl_kernels/include/, by the limits of
// toolkit/executors/sampling.py; null: greedy.
std::vector<int64_t> sampling_words(const pocketcl_sampling *given);

}  // namespace pocket
