// What a gather's dispatch computes of each record, for who computes it in its place:
//   part[g, m] += act(gate . x[m] + gate_bias[i]) * up_act(up . x[m] + up_bias[i]) * down
// for the records i of a share g. toolkit/plan/schema/steps.py says what each word means.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace pocket {

// A function of one number, as words one behind the other: numbers, v, and names of functions that
// take what stands before them. toolkit/plan/schema/activation.py has the same.
class Activation {
 public:
  struct Function {
    const char *name;
    size_t arity;
    float (*compute)(const float *);
  };

  // None where it says no number.
  static std::optional<Activation> read(const std::string &text);
  float operator()(float v) const;

 private:
  struct Word {
    const Function *function;  // none: a number, or v
    bool is_v;
    float number;
  };
  std::vector<Word> words_;
};

struct Unit {
  enum Gate { None, Part, Given } gate;
  Activation act, up_act;
  size_t x, part;  // of the dispatch's args, like those below
  std::optional<size_t> given, gate_bias, up_bias;
};

}  // namespace pocket
