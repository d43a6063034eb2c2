// Which records were in memory when a run of a plan ended, in a file from one start to the next: what
// is read while programs are built. It is a hint, and decides no answer.
//
//   pocketcl warm 1
//   DIGEST of the plan
//   RECORD RECORD …        a line for each table: those to keep longest come first
//   SHA-256 of all before
//
// toolkit/executors/opencl/gather/warm_set.py reads and writes the same.
#pragma once
#include <string>

#include "offload/machine.h"
#include "plan/plan.h"

namespace pocket {

class WarmSet {
 public:
  // `folder`: has a file for each plan; empty: nothing is kept.
  WarmSet(const Plan &plan, const std::string &folder);

  // Of each table; no list at all where there is no file, or one that is damaged, of another plan, or
  // of more records than this one has.
  RecordLists read() const;

  // As a whole or not at all; false: it can't be written, and the next start is as it would have been.
  bool write(const Machine &machine) const;

 private:
  RecordLists lists_in(const std::string &text) const;

  const Plan &plan_;
  const std::string folder_, path_;
};

}  // namespace pocket
