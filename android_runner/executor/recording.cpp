#include "executor/recording.h"

#include "executor/recorder.h"

namespace pocket {
namespace {

class CommandBuffer : public Recording {
 public:
  explicit CommandBuffer(cl::Queue queue) {
    cl::Int code = 0;
    buffer_ =
        cl::Owned<cl::CommandBuffer>(cl::CreateCommandBufferKHR(1, &queue, nullptr, &code));
    cl::check(code, "clCreateCommandBufferKHR");
  }

  void add(const BoundDispatch &dispatch, const Piece &piece) override {
    cl::check(cl::CommandNDRangeKernelKHR(buffer_.get(), nullptr, nullptr, dispatch.kernel.get(),
                                          dispatch.dims(), piece.offsets(), piece.global,
                                          dispatch.local, 0, nullptr, nullptr, nullptr),
              "clCommandNDRangeKernelKHR");
  }

  void end() override {
    cl::check(cl::FinalizeCommandBufferKHR(buffer_.get()), "clFinalizeCommandBufferKHR");
  }

  void send(cl::Event *done) override {
    cl::check(cl::EnqueueCommandBufferKHR(0, nullptr, buffer_.get(), 0, nullptr, done),
              "clEnqueueCommandBufferKHR");
  }

 private:
  cl::Owned<cl::CommandBuffer> buffer_;
};

// What is enqueued in the recordable queue while a recording of it is open is kept and not run.
class QueueRecording : public Recording {
 public:
  QueueRecording(cl::Queue recordable, cl::Queue queue) : recordable_(recordable), queue_(queue) {
    cl::Int code = 0;
    recording_ = cl::Owned<cl::QcomRecording>(cl::NewRecordingQCOM(recordable, &code));
    cl::check(code, "clNewRecordingQCOM");
  }

  void add(const BoundDispatch &dispatch, const Piece &piece) override {
    cl::check(launch(recordable_, dispatch, piece), "clEnqueueNDRangeKernel in a recording");
  }

  void end() override { cl::check(cl::EndRecordingQCOM(recording_.get()), "clEndRecordingQCOM"); }

  void send(cl::Event *done) override {
    cl::check(cl::EnqueueRecordingQCOM(queue_, recording_.get(), 0, nullptr, 0, nullptr, 0, nullptr,
                                       0, nullptr, 0, nullptr, done),
              "clEnqueueRecordingQCOM");
  }

 private:
  const cl::Queue recordable_, queue_;
  cl::Owned<cl::QcomRecording> recording_;
};

}  // namespace

std::unique_ptr<Recording> new_recording(const Device &device, cl::Queue queue) {
  if (!device.recordable()) return std::make_unique<CommandBuffer>(queue);
  return std::make_unique<QueueRecording>(device.recordable(), queue);
}

}  // namespace pocket
