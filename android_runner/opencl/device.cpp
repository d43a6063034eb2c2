#include "opencl/device.h"

#include <cstdio>

#include "base/failure.h"
#include "base/files.h"
#include "base/text.h"
#include "opencl/cl_info.h"
#include "opencl/cl_library.h"

namespace pocket {

Device::Device(const std::string &wanted, const std::string &device_class, bool profiling,
               const HintWishes &wishes)
    : facts_(choose_device(wanted, device_class == "cpu")), profiling_(profiling) {
  hints_ = hints_for(wishes, facts_);
  if ((wishes.priority != "normal" || !wishes.power.empty()) && !hints_.any())
    fputs("note: the driver takes no hints: --priority and --power change nothing\n", stderr);
  try {
    context_ = make_context();
    queues_.push_back(make_queue());
  } catch (const DeviceFailure &failure) {
    if (!hints_.any()) throw;
    fprintf(stderr, "note: the driver takes no --priority or --power: %s\n",
            failure.because.c_str());
    hints_ = {};
    context_ = make_context();
    queues_.push_back(make_queue());
  }
}

cl::Owned<cl::Context> Device::make_context() const {
  std::vector<cl::Props> props = {cl::CONTEXT_PLATFORM,
                                  reinterpret_cast<cl::Props>(facts_.platform)};
  props.insert(props.end(), hints_.context.begin(), hints_.context.end());
  props.push_back(0);
  cl::Int code = 0;
  cl::Owned<cl::Context> made(
      cl::CreateContext(props.data(), 1, &facts_.id, nullptr, nullptr, &code));
  cl::check(code, "clCreateContext");
  return made;
}

// The older function where it is enough: not every driver has the newer one.
cl::Owned<cl::Queue> Device::make_queue() const {
  const cl::Bits flags = profiling_ ? cl::Bits{cl::QUEUE_PROFILING} : 0;
  cl::Int code = 0;
  if (hints_.queue.empty() && cl::CreateCommandQueue) {
    cl::Owned<cl::Queue> made(cl::CreateCommandQueue(context(), facts_.id, flags, &code));
    cl::check(code, "clCreateCommandQueue");
    return made;
  }
  std::vector<uint64_t> props = {cl::QUEUE_PROPERTIES, flags};
  props.insert(props.end(), hints_.queue.begin(), hints_.queue.end());
  props.push_back(0);
  cl::Owned<cl::Queue> made(
      cl::CreateCommandQueueWithProperties(context(), facts_.id, props.data(), &code));
  cl::check(code, "clCreateCommandQueueWithProperties");
  return made;
}

void Device::need_queues(size_t count) {
  while (queues_.size() < count) queues_.push_back(make_queue());
}

cl::Owned<cl::Memory> Device::buffer(size_t bytes, const std::string &what, void *host) const {
  return create(host ? cl::READ_ONLY | cl::USE_HOST_PTR : cl::READ_WRITE, bytes, what, host);
}

cl::Owned<cl::Memory> Device::buffer_of_file(const std::string &path, size_t bytes,
                                             const std::string &what) const {
  if (!cl::EnqueueMapBuffer) return {};
  auto memory = create(cl::READ_WRITE | cl::ALLOC_HOST_PTR, bytes, what, nullptr);
  cl::Int code = 0;
  void *const mapped = cl::EnqueueMapBuffer(queue(0), memory.get(), 1, cl::MAP_WRITE, 0, bytes, 0,
                                            nullptr, nullptr, &code);
  if (code != 0) return {};
  read_file(path, static_cast<char *>(mapped), bytes);
  const cl::Int given =
      cl::EnqueueUnmapMemObject(queue(0), memory.get(), mapped, 0, nullptr, nullptr);
  return given == 0 ? std::move(memory) : cl::Owned<cl::Memory>();
}

void Device::check_size(size_t bytes, const std::string &what) const {
  if (bytes > facts_.largest_buffer)
    throw Failure(what + " needs a buffer of " + std::to_string(bytes) + " bytes",
                  facts_.name + " allows at most " + std::to_string(facts_.largest_buffer),
                  "a smaller --max-context or --prefill-chunk, or a smaller model");
}

cl::Owned<cl::Memory> Device::create(cl::Bits flags, size_t bytes, const std::string &what,
                                     void *host) const {
  check_size(bytes, what);
  cl::Int code = 0;
  cl::Owned<cl::Memory> memory(cl::CreateBuffer(context(), flags, bytes, host, &code));
  cl::check(code, ("clCreateBuffer for " + what).c_str());
  return memory;
}

cl::Owned<cl::Memory> Device::image(cl::Memory whole, size_t texels, cl::Int &code) const {
  const cl::ImageFormat words{cl::RGBA, cl::UNSIGNED_INT32};
  const cl::ImageDesc desc{cl::IMAGE1D_BUFFER, texels, 0, 0, 0, 0, 0, 0, 0, whole};
  return cl::Owned<cl::Memory>(
      cl::CreateImage(context(), cl::READ_ONLY, &words, &desc, nullptr, &code));
}

void PendingRead::wait() const {
  const cl::Event event = arrived_.get();
  if (event) cl::check(cl::WaitForEvents(1, &event), "clWaitForEvents");
}

void Device::write(cl::Memory memory, size_t offset, const void *data, size_t bytes) const {
  cl::check(cl::EnqueueWriteBuffer(queue(0), memory, 1, offset, bytes, data, 0, nullptr, nullptr),
            "clEnqueueWriteBuffer");
}

void Device::read(cl::Memory memory, size_t offset, void *into, size_t bytes) const {
  cl::check(cl::EnqueueReadBuffer(queue(0), memory, 1, offset, bytes, into, 0, nullptr, nullptr),
            "clEnqueueReadBuffer");
}

// Flushed, so that the device begins with what stands before it.
PendingRead Device::read_later(cl::Memory memory, size_t offset, void *into, size_t bytes) const {
  cl::Event event = nullptr;
  cl::check(cl::EnqueueReadBuffer(queue(0), memory, 0, offset, bytes, into, 0, nullptr, &event),
            "clEnqueueReadBuffer");
  PendingRead pending(event);
  cl::check(cl::Flush(queue(0)), "clFlush");
  return pending;
}

void Device::fill_zero(cl::Memory memory, size_t bytes) const {
  const cl::Int zero = 0;
  const size_t unit = bytes % sizeof zero ? 1 : sizeof zero;
  cl::check(cl::EnqueueFillBuffer(queue(0), memory, &zero, unit, 0, bytes, 0, nullptr, nullptr),
            "clEnqueueFillBuffer");
}

void Device::wait() const {
  for (const auto &queue : queues_) cl::check(cl::Finish(queue.get()), "clFinish");
}

std::string Device::cannot_record() {
  const std::string all = cl::info_text(cl::GetDeviceInfo, facts_.id, cl::DEVICE_EXTENSIONS);
  const std::string reason = no_command_buffers(all);
  if (reason.empty() || recordable_) return "";
  return lists(all, "cl_qcom_recordable_queues") ? make_recordable() : reason;
}

std::string Device::no_command_buffers(const std::string &extensions) const {
  const std::string extension = "cl_khr_command_buffer";
  if (!lists(extensions, extension)) return "the device has no " + extension;
  cl::Bits needed = 0;  // a driver that doesn't know the question needs nothing
  if (cl::GetDeviceInfo(facts_.id, cl::DEVICE_COMMAND_BUFFER_REQUIRED_QUEUE_PROPERTIES,
                        sizeof needed, &needed, nullptr) == 0 &&
      needed & ~(profiling_ ? cl::Bits{cl::QUEUE_PROFILING} : 0))
    return extension + " needs queues of another kind here";
  const bool complete = cl::load_command_buffers(facts_.platform);
  return complete ? "" : "a function of " + extension + " is missing";
}

// The flag stands alone: with any other the driver refuses the queue.
std::string Device::make_recordable() {
  if (!cl::load_recordable_queues(facts_.platform) || !cl::CreateCommandQueue)
    return "a function of cl_qcom_recordable_queues is missing";
  cl::Uint most = 0;
  cl::GetDeviceInfo(facts_.id, cl::DEVICE_RECORDABLE_QUEUE_MAX_SIZE, sizeof most, &most, nullptr);
  cl::Int code = 0;
  recordable_ = cl::Owned<cl::Queue>(
      cl::CreateCommandQueue(context(), facts_.id, cl::QUEUE_RECORDABLE_QCOM, &code));
  if (code != 0) return "no queue records: " + cl::error_name(code);
  if (most) most_recorded_ = most;
  return "";
}

cl::Owned<cl::Memory> sub_buffer(const cl::Owned<cl::Memory> &whole, size_t offset, size_t bytes) {
  cl::Int code = 0;
  const cl::Region region{offset, bytes};
  cl::Owned<cl::Memory> memory(
      cl::CreateSubBuffer(whole.get(), 0, cl::BUFFER_CREATE_TYPE_REGION, &region, &code));
  cl::check(code, "clCreateSubBuffer");
  return memory;
}

}  // namespace pocket
