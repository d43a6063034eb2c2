// What a gather's unit computes of records, on a CPU.
#pragma once
#include <cstdint>
#include <vector>

#include "plan/plan.h"
#include "waves/part_sums.h"

namespace pocket {

struct WaveRecord {
  const char *bytes;
  int32_t index;
};

// Of a gather, as floats.
struct UnitInputs {
  size_t rows = 0;
  std::vector<float> x;      // [rows][length]
  std::vector<float> given;  // [rows][count of the table], where gates are
  const float *gate_bias = nullptr, *up_bias = nullptr;  // of each index
};

class NeuronSums {
 public:
  static bool knows(const Table &table);  // parts that are alike, and in a form it reads
  NeuronSums(const Table &table, const Unit &unit);

  size_t width() const { return part_.width(); }
  size_t length() const { return part_.length(); }
  const PartSums &part() const { return part_; }

  // sums[rows][width] += what the records add. `rows`: x as `part` arranges it.
  void add(const WaveRecord *records, size_t count, const UnitInputs &inputs,
           const std::vector<float> &rows, float *sums) const;

 private:
  static constexpr size_t AT_ONCE = PartSums::AT_ONCE;
  struct Waiting;
  void add_row(const WaveRecord *records, size_t count, const UnitInputs &inputs, size_t row,
               const float *x, float *sums) const;
  void gates(const WaveRecord *records, size_t count, const UnitInputs &inputs, size_t row,
             const float *x, float *gates) const;
  void add_waiting(Waiting &waiting, const UnitInputs &inputs, const float *x, float *sums) const;

  const Unit &unit_;
  const PartSums part_;
  const int64_t count_, gate_, up_, down_;  // count: of the table; others: where parts begin
};

}  // namespace pocket
