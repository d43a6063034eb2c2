// What gathers did, one JSON line each: runner, readable executor and simulator write the same.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "base/output.h"
#include "offload/machine.h"

namespace pocket {

// {"t":12,"g":3,"sel":[…],"hit":61,"admit":[[r,s],…],"evict":[…],"runs":[[off,len],…],"read":…,
// "used":…}, without a line's end; `gather` counts those of all phases.
std::string trace_line(int64_t step, int64_t gather, const Gathered &found);

// {"t":12,"p":3,"want":[…],"runs":[[off,len],…],"read":…}, likewise: a prefetch of a table.
std::string ahead_line(int64_t step, int64_t table, const Ahead &found);

// {"t":12,"budget":…,"memory":…,"flash":1,"slots":[…],"pinned":[…],"policy":"lfu","evict":[[…],…],
// "move":[[[r,s],…],…],"admit":[[[r,s],…],…],"runs":[[[off,len],…],…]}, likewise: another point after
// this step, and for each table what that changes. `budget` is what was asked for, null: nothing.
std::string change_line(int64_t step, std::optional<int64_t> budget, const Point &point,
                        const std::vector<Change> &changes);

// Of a table at the start, where that has a warm set: t is -1, and g the table's number.
std::string opening_line(const Table &table, int64_t number, const Change &opening);

// The lines in a file, and beside it, in `path`.scores, the f32 scores that each was chosen by.
class AccessTrace {
 public:
  explicit AccessTrace(const std::string &path) : lines_(path), scores_(path + ".scores") {}
  void write(int64_t step, int64_t gather, const Gathered &found, const float *scores,
             size_t count);
  void write(int64_t step, int64_t table, const Ahead &found, const std::vector<float> &scores);
  void write(int64_t step, std::optional<int64_t> budget, const Point &point,
             const std::vector<Change> &changes);
  void open(const Table &table, int64_t number, const Change &opening);

 private:
  void write_line(const std::string &line);

  Output lines_, scores_;
};

}  // namespace pocket
