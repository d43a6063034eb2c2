// What gathers and prefetches select records by. toolkit/plan/checks/gathers.py refuses the same.
#pragma once
#include "plan/step_reader.h"

namespace pocket {

Select read_select(const Node &node, const Table &table);
// The numbers or ids that it looks at, for a step of this queue: a dispatch before it has written
// them, or one of its `own`, and no other queue may still do so.
Argument read_source(const Node &node, const Context &context, const Select &select,
                     const Table &table, size_t queue, const std::vector<Step> &own = {});
// Whether a dispatch among these writes this memory.
bool is_written(const std::vector<Step> &steps, const Argument &memory);

}  // namespace pocket
