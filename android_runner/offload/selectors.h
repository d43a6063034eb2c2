// Which records a token needs: rules over one score an index, exact in float32. They choose the
// same indices as toolkit/offload/selectors.py, to the last tie.
#pragma once
#include <cstdint>
#include <vector>

#include "plan/tables.h"

namespace pocket {

// What a rule looks at. A NaN counts as 0 here; whoever checks the model's output reports it.
struct Scores {
  const float *values = nullptr;  // f32 [count] by index; not for All and Ids
  const int32_t *ids = nullptr;   // i32 [ids_count], in any order, also more than once; for Ids
  size_t ids_count = 0;
};

// Indices, ascending, below `count`. `resident`: by index, whether its record is in memory; only Top
// looks at it. Throws Failure where an id has no record.
std::vector<int32_t> select(const Select &rule, const Scores &scores, int32_t count,
                            const std::vector<uint8_t> &resident);

}  // namespace pocket
