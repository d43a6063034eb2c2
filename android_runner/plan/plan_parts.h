// What the parts of the loader share; the rest of the runner sees only plan.h.
#pragma once
#include "plan/json_node.h"
#include "plan/plan.h"

namespace pocket {

using Names = std::vector<std::string>;

Plan read_plan(const Node &root, const std::string &folder);
Phase read_phase(const Node &node, const Plan &plan, const Names &symbols, const Box &box);
void check_overlap(const Node &node, const Phase &phase);  // of scratch that is in use at once
void check_language_model(const Node &root, const Plan &plan);

}  // namespace pocket
