// One run of the step gather: reads and launches of what the machine has decided.
#pragma once
#include <functional>
#include <vector>

#include "gather/gather_memory.h"
#include "offload/cluster_reads.h"

namespace pocket {

// Of a gather's dispatches, once: with this ticket and these slots, for so many records.
using GatherLaunches = std::function<void(cl::Memory ticket, cl::Memory slots, int64_t records)>;

class Gathering {
 public:
  Gathering(const Plan &plan, size_t table, cl::Queue queue, const Machine &machine,
            GatherMemory &memory, IoPool &pool, const GatherLaunches &launch)
      : number_(table),
        table_(plan.tables[table]),
        queue_(queue),
        machine_(machine),
        memory_(memory),
        pool_(pool),
        launch_(launch) {}

  // Launches in the machine's order, each when its records have come. Answers how many seconds it
  // has waited for these.
  double conduct(const Gathered &found);
  void abandon();  // after a failure: no read is under way, and what has no launch has no place

 private:
  struct Reads {
    uint64_t batch;  // of the pool
    int64_t begin;   // of its records in staging, in bytes
    bool staged;     // whether there are any
  };
  bool submit(const Gathered &found, bool wait);
  Batch in_order(const Gathered &found, const Cluster &cluster,
                 const std::vector<Landing> &landings, char *to) const;
  void compute(const Cluster &cluster, const Reads &reads);
  void upload(const std::vector<Landing> &landings, int64_t begin) const;
  cl::Memory ticket(const GatherLaunch &launch, int64_t first);

  const size_t number_;
  const Table &table_;
  const cl::Queue queue_;
  const Machine &machine_;
  GatherMemory &memory_;
  IoPool &pool_;
  const GatherLaunches &launch_;
  std::vector<Reads> reads_;  // of each cluster that was submitted
  size_t waited_ = 0;         // of these
  bool begins_ = true;
};

}  // namespace pocket
