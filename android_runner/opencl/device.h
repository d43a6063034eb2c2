// The OpenCL device that a plan runs on: its context, queues and memory.
#pragma once
#include <string>
#include <vector>

#include "opencl/cl_api.h"
#include "opencl/device_choice.h"
#include "opencl/queue_priority.h"

namespace pocket {

// A read that is under way.
class PendingRead {
 public:
  PendingRead() = default;
  explicit PendingRead(cl::Event arrived) : arrived_(arrived) {}
  void wait() const;  // until it has arrived; nothing where none was begun

 private:
  cl::Owned<cl::Event> arrived_;
};

class Device {
 public:
  // See choose_device; `device_class` is the plan's.
  Device(const std::string &wanted, const std::string &device_class, bool profiling = false,
         const HintWishes &wishes = {});

  const DeviceFacts &facts() const { return facts_; }
  bool profiling() const { return profiling_; }  // its queues note when kernels run
  cl::Context context() const { return context_.get(); }
  cl::Queue queue(size_t index) const { return queues_[index].get(); }
  bool is_cpu() const { return facts_.type & cl::TYPE_CPU; }
  void need_queues(size_t count);
  cl::Owned<cl::Queue> another_queue() const { return make_queue(); }  // that no launch is given to
  cl::Owned<cl::Memory> buffer(size_t bytes, const std::string &what, void *host = nullptr) const;
  void check_size(size_t bytes, const std::string &what) const;  // throws where none is so large
  // Of memory that both see, with what a file has; none where the driver can't map it.
  cl::Owned<cl::Memory> buffer_of_file(const std::string &path, size_t bytes,
                                       const std::string &what) const;
  // All of a buffer as an image of so many texels, four words each; none, with a code, where the
  // driver refuses it.
  cl::Owned<cl::Memory> image(cl::Memory whole, size_t texels, cl::Int &code) const;
  // By the first queue, in its order.
  void write(cl::Memory memory, size_t offset, const void *data, size_t bytes) const;
  void read(cl::Memory memory, size_t offset, void *into, size_t bytes) const;
  PendingRead read_later(cl::Memory memory, size_t offset, void *into, size_t bytes) const;
  void fill_zero(cl::Memory memory, size_t bytes) const;
  void wait() const;  // for everything in every queue

  // The code of `compile`, which is tried again, once, where a compiler ran out of memory: it has
  // more when nothing runs.
  template <class Compile>
  cl::Int with_memory(Compile compile) const {
    const cl::Int code = compile();
    if (code != cl::OUT_OF_HOST_MEMORY) return code;
    wait();
    return compile();
  }

  // Why launches can't be recorded here; empty when they can: by command buffers, or else by a
  // queue that records, of so many launches at most.
  std::string cannot_record();
  cl::Queue recordable() const { return recordable_.get(); }
  size_t most_recorded() const { return most_recorded_; }

 private:
  cl::Owned<cl::Context> make_context() const;
  cl::Owned<cl::Queue> make_queue() const;
  cl::Owned<cl::Memory> create(cl::Bits flags, size_t bytes, const std::string &what,
                               void *host) const;
  std::string no_command_buffers(const std::string &extensions) const;
  std::string make_recordable();

  DeviceFacts facts_;
  const bool profiling_;
  Hints hints_;
  cl::Owned<cl::Context> context_;
  std::vector<cl::Owned<cl::Queue>> queues_;
  cl::Owned<cl::Queue> recordable_;
  size_t most_recorded_ = SIZE_MAX;
};

cl::Owned<cl::Memory> sub_buffer(const cl::Owned<cl::Memory> &whole, size_t offset, size_t bytes);

}  // namespace pocket
