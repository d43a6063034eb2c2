#include "offload/imitation.h"

#include <algorithm>

namespace pocket {

double Imitation::submit(double now, double seconds) {
  const double begin = std::max(now - slip_ - debt_, free_);
  free_ = begin + seconds;
  busy_s_ += seconds;
  return free_;
}

void Imitation::finish(double now, double due) {
  const double late = std::max(0.0, -left(now, due));
  debt_ = std::min(late, LEEWAY_S);
  slip_ += late - debt_;
  late_s_ += late - debt_;
}

}  // namespace pocket
