// What the readers of steps share; phase_reader.cpp and gather_reader.cpp use it.
#pragma once
#include "plan/json_node.h"
#include "plan/plan.h"

namespace pocket {

// Where a step stands.
struct Context {
  const Plan &plan;
  const Phase &phase;  // its scratch, and the steps before this one
  const Symbols &symbols;  // of grids, and what they can be
  const Box &box;
  enum Place { Outside, InGather, Choosing } place = Outside;  // choosing: what fills its ticket
};

constexpr size_t QUEUES = 16;

void read_arguments(const Node &node, const Context &context, Step &step);
Step read_dispatch(const Node &node, const Context &context);
Step read_gather(const Node &node, const Context &context);
// Of a gather with these dispatches.
Unit read_unit(const Node &node, const Context &context, const Table &table,
               const std::vector<Step> &dispatches);
Step read_prefetch(const Node &node, const Context &context);
void check_prefetches(const Node &steps, const Phase &phase);  // what stands around them

}  // namespace pocket
