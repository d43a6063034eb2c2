#include "waves/neuron_sums.h"

#include <algorithm>

namespace pocket {

// Records whose gate isn't 0.
struct NeuronSums::Waiting {
  WaveRecord records[AT_ONCE] = {};
  float h[AT_ONCE];
  size_t count = 0;
};

bool NeuronSums::knows(const Table &table) {
  const TablePart &first = table.parts.front();
  return PartSums::knows(first) &&
         std::all_of(table.parts.begin(), table.parts.end(), [&](const TablePart &part) {
           return part.dtype == first.dtype && part.length == first.length &&
                  part.group == first.group && part.zero == first.zero;
         });
}

NeuronSums::NeuronSums(const Table &table, const Unit &unit)
    : unit_(unit),
      part_(table.parts.front()),
      count_(table.count),
      gate_(table.parts.front().offset),
      up_(table.parts[table.parts.size() - 2].offset),
      down_(table.parts.back().offset) {}

void NeuronSums::add(const WaveRecord *records, size_t count, const UnitInputs &inputs,
                     const std::vector<float> &rows, float *sums) const {
  for (size_t row = 0; row < inputs.rows; ++row)
    add_row(records, count, inputs, row, rows.data() + row * width(), sums + row * width());
}

void NeuronSums::add_row(const WaveRecord *records, size_t count, const UnitInputs &inputs,
                         size_t row, const float *x, float *sums) const {
  Waiting waiting;
  for (size_t at = 0; at < count; at += AT_ONCE) {
    const size_t some = std::min(AT_ONCE, count - at);
    float gates[AT_ONCE];
    this->gates(records + at, some, inputs, row, x, gates);
    for (size_t q = 0; q < some; ++q) {
      if (gates[q] == 0) continue;
      waiting.records[waiting.count] = records[at + q];
      waiting.h[waiting.count++] = gates[q];
      if (waiting.count == AT_ONCE) add_waiting(waiting, inputs, x, sums);
    }
  }
  add_waiting(waiting, inputs, x, sums);
}

// Behind their activation; of those beyond the last nobody asks.
void NeuronSums::gates(const WaveRecord *records, size_t count, const UnitInputs &inputs,
                       size_t row, const float *x, float *gates) const {
  std::fill_n(gates, AT_ONCE, 1.0f);
  if (unit_.gate == Unit::None) return;
  if (unit_.gate == Unit::Part) {
    const char *parts[AT_ONCE];
    for (size_t q = 0; q < AT_ONCE; ++q) parts[q] = records[std::min(q, count - 1)].bytes + gate_;
    part_.multiply(parts, x, gates);
  }
  for (size_t q = 0; q < count; ++q) {
    const int32_t index = records[q].index;
    if (unit_.gate == Unit::Given)
      gates[q] = inputs.given[row * static_cast<size_t>(count_) + static_cast<size_t>(index)];
    gates[q] = unit_.act(gates[q] + (inputs.gate_bias ? inputs.gate_bias[index] : 0));
  }
}

void NeuronSums::add_waiting(Waiting &waiting, const UnitInputs &inputs, const float *x,
                             float *sums) const {
  if (waiting.count == 0) return;
  const char *ups[AT_ONCE], *downs[AT_ONCE];
  float h[AT_ONCE];
  for (size_t q = 0; q < AT_ONCE; ++q) {
    const char *const record = waiting.records[q < waiting.count ? q : 0].bytes;
    ups[q] = record + up_;
    downs[q] = record + down_;
  }
  part_.multiply(ups, x, h);
  for (size_t q = 0; q < AT_ONCE; ++q) {
    const float bias = inputs.up_bias ? inputs.up_bias[waiting.records[q].index] : 0;
    h[q] = q < waiting.count ? waiting.h[q] * unit_.up_act(h[q] + bias) : 0;
  }
  part_.add(downs, h, sums);
  waiting.count = 0;
}

}  // namespace pocket
