// What halves hold while a plan runs: how many are no numbers, or near the end of their range.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace pocket {

class Halves {
 public:
  // What a dispatch has written to the tensor of this name.
  void add(const std::string &name, const std::vector<uint16_t> &values);

  // A JSON list of {value, largest, near, not_finite}, in the order of the steps.
  std::string json() const;

 private:
  struct Count {
    std::string name;
    uint16_t largest = 0;  // of those that are numbers: its bits without the sign
    int64_t near = 0, not_finite = 0;
  };
  std::vector<Count> counts_;
};

}  // namespace pocket
