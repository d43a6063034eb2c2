// What a gather launches before it decides: of what is in slots, and in two phases (PowerInfer-2,
// section 4.2) of the first parts of what is missing, which say of which records the rest is needed.
#pragma once
#include <vector>

#include "gather/gathering.h"

namespace pocket {

class FirstParts {
 public:
  FirstParts(const Plan &plan, const Machine &machine, GatherMemory &memory, IoPool &pool)
      : plan_(plan), machine_(machine), memory_(memory), pool_(pool) {}
  FirstParts(const FirstParts &) = delete;

  // The first launch of a gather, of records in slots; none where there are none.
  void launch_resident(size_t table, const std::vector<Placed> &records, cl::Queue queue,
                       const GatherLaunches &launch);
  // While first parts are read, the device computes what is resident; then what says of which of
  // them the rest is needed.
  ReadWaits look(const GatherStep &gather, const Glimpse &glimpse, cl::Queue queue,
                 const GatherLaunches &launch);
  // Records of which nothing more is needed, by `numbers` that the device has made of their first
  // parts, f32 by index; ascending.
  std::vector<int32_t> left_of(const GatherStep &gather, const Glimpse &glimpse, cl::Queue queue,
                               cl::Memory numbers);

  int64_t left() const { return left_; }      // records, so far
  int64_t spared() const { return spared_; }  // bytes of them that were not read

 private:
  ReadWaits read(const GatherStep &gather, const Glimpse &glimpse, cl::Queue queue,
                 const GatherLaunches &launch);
  std::vector<int32_t> place(const Glimpse &glimpse, size_t number, int64_t begin,
                             cl::Queue queue);

  const Plan &plan_;
  const Machine &machine_;
  GatherMemory &memory_;
  IoPool &pool_;
  int64_t left_ = 0, spared_ = 0;
};

}  // namespace pocket
