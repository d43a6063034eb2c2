// Which phase runs: of those that give what is wanted, the narrowest whose bounds hold. The Python
// executors have the same (toolkit/plan/phase_choice.py); one table of questions is held against
// both.
#pragma once
#include <initializer_list>
#include <map>
#include <vector>

#include "plan/plan.h"

namespace pocket {

struct SymbolValue {
  size_t symbol;
  int64_t value;
};

// Phases by what they give: the buffers that their fetch steps name.
class PhaseChoice {
 public:
  // Of equally narrow ones the first comes first.
  PhaseChoice(const Plan &plan, std::vector<const Phase *> phases);

  const std::vector<const Phase *> &giving(size_t buffer) const;  // the narrowest first
  const Phase *find(size_t buffer, std::initializer_list<SymbolValue> values) const;  // or nullptr
  int64_t longest(size_t buffer, size_t symbol) const;  // the greatest value that they take; or 0

 private:
  std::map<size_t, std::vector<const Phase *>> giving_;
};

std::vector<const Phase *> all_phases(const Plan &plan);

}  // namespace pocket
