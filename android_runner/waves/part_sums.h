// Parts of records as a CPU multiplies and adds them, by vectors of eight in the order of memory, as
// opencl_kernels/include/records_cpu.clh does. x is brought into that order once, sums out of it.
#pragma once
#include <cstddef>

#include "plan/tables.h"

namespace pocket {

class PartSums {
 public:
  static constexpr size_t AT_ONCE = 4;  // parts that x is multiplied with, or that are added

  static bool knows(const TablePart &part);  // codes of 4 bits, or halves
  explicit PartSums(const TablePart &part);

  size_t length() const { return length_; }
  size_t width() const { return width_; }  // floats of a row in the order of parts

  void arrange(const float *x, float *row) const;
  // v[q] = part q . x, of AT_ONCE parts
  void multiply(const char *const *parts, const float *row, float *v) const;
  // row += the sum over AT_ONCE parts of h[q] * part q
  void add(const char *const *parts, const float *h, float *row) const;
  // y += what such sums are
  void restore(const float *row, float *y) const;

 private:
  template <class Take>
  void each_number(const Take &take) const;

  size_t length_, width_, group_, blocks_;
  bool zero_;
};

}  // namespace pocket
