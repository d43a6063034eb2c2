// What gathers did, one JSON line each: runner, readable executor and simulator write the same.
#pragma once
#include <memory>
#include <string>

#include "base/output.h"
#include "offload/machine.h"

namespace pocket {

// {"t":12,"g":3,"sel":[…],"hit":61,"admit":[[r,s],…],"evict":[…],"runs":[[off,len],…],"read":…,
// "used":…}, without a line's end; `gather` counts those of all phases.
std::string trace_line(int64_t step, int64_t gather, const Gathered &found);

// The lines in a file, and beside it, in `path`.scores, the f32 scores that each was chosen by.
class AccessTrace {
 public:
  explicit AccessTrace(const std::string &path) : lines_(path), scores_(path + ".scores") {}
  void write(int64_t step, int64_t gather, const Gathered &found, const float *scores,
             size_t count);

 private:
  Output lines_, scores_;
};

}  // namespace pocket
