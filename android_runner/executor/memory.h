// Everything that the plan keeps on the device: weights, states, inputs and outputs, symbols, and
// the arena.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "opencl/device.h"
#include "plan/plan.h"

namespace pocket {

class Memory {
 public:
  // For the phases in use: what only other phases need is not allocated. There is to be room for so
  // many bytes of slots as well.
  Memory(const Plan &plan, const Device &device, const std::vector<const Phase *> &phases,
         int64_t slots);

  cl::Memory weight(size_t index) const { return weights_[index].get(); }
  cl::Memory buffer(size_t index) const { return buffers_[index].get(); }
  int64_t buffer_bytes(size_t index) const { return sizes_[index]; }
  cl::Memory symbols() const { return symbols_.get(); }
  cl::Owned<cl::Memory> scratch(const Scratch &scratch) const;

  // The images that a variant reads: each is made once, of all the memory that its argument lies in.
  // A code other than 0 where the driver refuses one; `image` is of those that are there.
  cl::Int make_images(const Plan &plan, const Device &device, const Step &step,
                      const Variant &variant) const;
  cl::Memory image(const Plan &plan, const Argument &argument) const;

  void clear(const Device &device) const;  // every buffer to zeros, as after the start

  int64_t weight_bytes = 0, state_bytes = 0, arena_bytes = 0;
  bool mapped() const { return !files_.empty(); }

 private:
  void load_weights(const Plan &plan, const Device &device);
  cl::Owned<cl::Memory> load_shard(const Plan &plan, const Device &device, size_t file);
  void make_buffers(const Plan &plan, const Device &device);
  cl::Memory around(const Plan &plan, const Argument &argument) const;
  int64_t bytes_around(const Plan &plan, const Argument &argument) const;  // that there are

  std::vector<MappedFile> files_;  // first: outlives the buffers that use it
  std::vector<cl::Owned<cl::Memory>> shards_, weights_, buffers_;
  std::vector<int64_t> sizes_;  // of buffers_, in bytes
  cl::Owned<cl::Memory> symbols_, arena_;
  mutable std::map<cl::Memory, cl::Owned<cl::Memory>> images_;  // by what they show
};

}  // namespace pocket
