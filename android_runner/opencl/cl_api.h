// The part of OpenCL 1.2 that the runner calls, every function looked up in the library that
// cl_library.h finds; and an extension.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cl {

struct PlatformTag;
struct DeviceTag;
struct ContextTag;
struct QueueTag;
struct MemoryTag;
struct ProgramTag;
struct KernelTag;
struct EventTag;
struct CommandBufferTag;
struct QcomRecordingTag;
using Platform = PlatformTag *;
using Device = DeviceTag *;
using Context = ContextTag *;
using Queue = QueueTag *;
using Memory = MemoryTag *;
using Program = ProgramTag *;
using Kernel = KernelTag *;
using Event = EventTag *;
using CommandBuffer = CommandBufferTag *;
using QcomRecording = QcomRecordingTag *;
using Int = int32_t;
using Uint = uint32_t;
using Bits = uint64_t;
using Props = intptr_t;

struct Region {
  size_t origin, size;
};

struct ImageFormat {
  Uint order, type;
};
struct ImageDesc {
  Uint type;
  size_t width, height, depth, array_size, row_pitch, slice_pitch;
  Uint levels, samples;
  Memory buffer;
};

// Values from the OpenCL 3.0 specification; drivers of an older one don't know all of them.
enum : Uint {
  PLATFORM_VERSION = 0x0901,
  PLATFORM_NAME = 0x0902,
  DEVICE_TYPE = 0x1000,
  DEVICE_MAX_COMPUTE_UNITS = 0x1002,
  DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
  DEVICE_IMAGE_SUPPORT = 0x1016,
  DEVICE_MEM_BASE_ADDR_ALIGN = 0x1019,
  DEVICE_GLOBAL_MEM_SIZE = 0x101F,
  DEVICE_LOCAL_MEM_SIZE = 0x1023,
  DEVICE_NAME = 0x102B,
  DRIVER_VERSION = 0x102D,
  DEVICE_VERSION = 0x102F,
  DEVICE_EXTENSIONS = 0x1030,
  DEVICE_HALF_FP_CONFIG = 0x1033,
  DEVICE_HOST_UNIFIED_MEMORY = 0x1035,
  DEVICE_IMAGE_MAX_BUFFER_SIZE = 0x1040,
  DEVICE_MAX_NUM_SUB_GROUPS = 0x105C,
  DEVICE_OPENCL_C_FEATURES = 0x106F,
  PROGRAM_BINARY_SIZES = 0x1165,
  PROGRAM_BINARIES = 0x1166,
  PROGRAM_BUILD_LOG = 0x1183,
  KERNEL_NUM_ARGS = 0x1191,
  KERNEL_WORK_GROUP_SIZE = 0x11B0,
  KERNEL_LOCAL_MEM_SIZE = 0x11B2,
  KERNEL_PRIVATE_MEM_SIZE = 0x11B4,
  KERNEL_MAX_SUB_GROUP_SIZE_FOR_NDRANGE = 0x2033,
  EVENT_COMMAND_EXECUTION_STATUS = 0x11D3,
  BUFFER_CREATE_TYPE_REGION = 0x1220,
  RGBA = 0x10B5,            // an image's texels: four
  UNSIGNED_INT32 = 0x10DC,  // words
  IMAGE1D_BUFFER = 0x10F6,
  DEVICE_COMMAND_BUFFER_REQUIRED_QUEUE_PROPERTIES = 0x12AA,
  DEVICE_RECORDABLE_QUEUE_MAX_SIZE = 0x41DE,  // of cl_qcom_recordable_queues: launches
  CONTEXT_PLATFORM = 0x1084,
  QUEUE_PROPERTIES = 0x1093,
  QUEUE_PRIORITY = 0x1096,         // of cl_khr_priority_hints
  QUEUE_UNIT_LIMIT_ARM = 0x41F3,   // of cl_arm_scheduling_controls: compute units that it may take
  DEVICE_SCHEDULING_CONTROLS_ARM = 0x41E4,
  CONTEXT_PERF_HINT = 0x40C2,      // of cl_qcom_perf_hint: this + 1 is high, + 2 normal, + 3 low
  CONTEXT_PRIORITY_HINT = 0x40C9,  // of cl_qcom_priority_hint, likewise
  PROFILING_QUEUED = 0x1280,
  PROFILING_SUBMIT = 0x1281,
  PROFILING_START = 0x1282,
  PROFILING_END = 0x1283,
};
constexpr Int OUT_OF_HOST_MEMORY = -6;
enum : Bits { TYPE_CPU = 2, TYPE_GPU = 4, TYPE_ALL = 0xFFFFFFFF };
enum : Bits { READ_WRITE = 1, READ_ONLY = 4, USE_HOST_PTR = 8, ALLOC_HOST_PTR = 16 };
enum : Bits { MAP_WRITE = 2, MAP_WRITE_INVALIDATE = 4 };
enum : Bits { QUEUE_PROFILING = 2, QUEUE_RECORDABLE_QCOM = 1 << 30 };

// X(name, parameters): each becomes a function pointer cl::name for the function clname. A library
// without one of these can't be used.
#define CL_NEEDED(X)                                                                            \
  X(GetPlatformIDs, (Uint, Platform *, Uint *))                                                 \
  X(GetDeviceIDs, (Platform, Bits, Uint, Device *, Uint *))                                     \
  X(GetDeviceInfo, (Device, Uint, size_t, void *, size_t *))                                    \
  X(BuildProgram,                                                                               \
    (Program, Uint, const Device *, const char *, void (*)(Program, void *), void *))           \
  X(SetKernelArg, (Kernel, Uint, size_t, const void *))                                         \
  X(EnqueueNDRangeKernel, (Queue, Kernel, Uint, const size_t *, const size_t *, const size_t *, \
                           Uint, const Event *, Event *))                                       \
  X(EnqueueReadBuffer,                                                                          \
    (Queue, Memory, Uint, size_t, size_t, void *, Uint, const Event *, Event *))                \
  X(EnqueueWriteBuffer,                                                                         \
    (Queue, Memory, Uint, size_t, size_t, const void *, Uint, const Event *, Event *))          \
  X(Flush, (Queue))                                                                             \
  X(Finish, (Queue))                                                                            \
  X(WaitForEvents, (Uint, const Event *))

// Where one of these is missing, cl::name answers CL_INVALID_OPERATION: it only tells something, or
// makes something faster.
#define CL_HELPFUL(X)                                                         \
  X(GetPlatformInfo, (Platform, Uint, size_t, void *, size_t *))              \
  X(GetProgramInfo, (Program, Uint, size_t, void *, size_t *))                \
  X(GetProgramBuildInfo, (Program, Device, Uint, size_t, void *, size_t *))   \
  X(GetKernelInfo, (Kernel, Uint, size_t, void *, size_t *))                  \
  X(GetKernelWorkGroupInfo, (Kernel, Device, Uint, size_t, void *, size_t *)) \
  X(GetKernelSubGroupInfo,                                                    \
    (Kernel, Device, Uint, size_t, const void *, size_t, void *, size_t *))   \
  X(GetEventProfilingInfo, (Event, Uint, size_t, void *, size_t *))           \
  X(GetEventInfo, (Event, Uint, size_t, void *, size_t *))                    \
  X(CreateKernelsInProgram, (Program, Uint, Kernel *, Uint *))                \
  X(EnqueueMarkerWithWaitList, (Queue, Uint, const Event *, Event *))         \
  X(EnqueueUnmapMemObject, (Queue, Memory, void *, Uint, const Event *, Event *))

// Where one of these is missing, the objects live on.
#define CL_RELEASES(X)            \
  X(ReleaseContext, (Context))    \
  X(ReleaseCommandQueue, (Queue)) \
  X(ReleaseMemObject, (Memory))   \
  X(ReleaseProgram, (Program))    \
  X(ReleaseKernel, (Kernel))      \
  X(ReleaseEvent, (Event))

// Of OpenCL 1.2; where it is missing, written by clEnqueueWriteBuffer.
#define CL_FILL(X)     \
  X(EnqueueFillBuffer, \
    (Queue, Memory, const void *, size_t, size_t, size_t, Uint, const Event *, Event *))

#define CL_FUNCTIONS(X) CL_NEEDED(X) CL_HELPFUL(X) CL_RELEASES(X) CL_FILL(X)

// X(type, name, parameters): functions that create something and report through their last
// parameter.
#define CL_CREATORS_NEEDED(X)                                                                   \
  X(Context, CreateContext,                                                                     \
    (const Props *, Uint, const Device *, void (*)(const char *, const void *, size_t, void *), \
     void *, Int *))                                                                            \
  X(Memory, CreateBuffer, (Context, Bits, size_t, void *, Int *))                               \
  X(Memory, CreateSubBuffer, (Memory, Bits, Uint, const void *, Int *))                         \
  X(Program, CreateProgramWithSource, (Context, Uint, const char **, const size_t *, Int *))    \
  X(Kernel, CreateKernel, (Program, const char *, Int *))

// Null where they are missing. One of the two for queues must be there.
#define CL_CREATORS_HELPFUL(X)                                                             \
  X(Memory, CreateImage,                                                                   \
    (Context, Bits, const ImageFormat *, const ImageDesc *, void *, Int *))                \
  X(Queue, CreateCommandQueue, (Context, Device, Bits, Int *))                             \
  X(Queue, CreateCommandQueueWithProperties, (Context, Device, const uint64_t *, Int *))   \
  X(Program, CreateProgramWithBinary,                                                      \
    (Context, Uint, const Device *, const size_t *, const unsigned char **, Int *, Int *)) \
  X(void *, EnqueueMapBuffer,                                                              \
    (Queue, Memory, Uint, Bits, size_t, size_t, Uint, const Event *, Event *, Int *))

#define CL_CREATORS(X) CL_CREATORS_NEEDED(X) CL_CREATORS_HELPFUL(X)

// Of cl_khr_command_buffer; null until load_command_buffers has found them.
#define CL_COMMAND_BUFFER_FUNCTIONS(X)                                                     \
  X(CommandBuffer, CreateCommandBufferKHR, (Uint, const Queue *, const uint64_t *, Int *)) \
  X(Int, FinalizeCommandBufferKHR, (CommandBuffer))                                        \
  X(Int, ReleaseCommandBufferKHR, (CommandBuffer))                                         \
  X(Int, CommandNDRangeKernelKHR,                                                          \
    (CommandBuffer, Queue, const uint64_t *, Kernel, Uint, const size_t *, const size_t *, \
     const size_t *, Uint, const Uint *, Uint *, void **))                                 \
  X(Int, EnqueueCommandBufferKHR, (Uint, Queue *, CommandBuffer, Uint, const Event *, Event *))

// Of cl_qcom_recordable_queues, likewise. Pairs of a count and a list say what changes in a replay.
#define CL_RECORDABLE_QUEUE_FUNCTIONS(X)                                                          \
  X(QcomRecording, NewRecordingQCOM, (Queue, Int *))                                              \
  X(Int, EndRecordingQCOM, (QcomRecording))                                                       \
  X(Int, ReleaseRecordingQCOM, (QcomRecording))                                                   \
  X(Int, EnqueueRecordingQCOM,                                                                    \
    (Queue, QcomRecording, size_t, const void *, size_t, const void *, size_t, const void *,      \
     size_t, const void *, Uint, const Event *, Event *))

// Of cl_khr_subgroups, likewise: what drivers before OpenCL 2.1 have for GetKernelSubGroupInfo.
#define CL_SUB_GROUP_FUNCTIONS(X)  \
  X(Int, GetKernelSubGroupInfoKHR, \
    (Kernel, Device, Uint, size_t, const void *, size_t, void *, size_t *))

#define CL_DECLARE(name, parameters) extern Int(*name) parameters;
#define CL_DECLARE_CREATOR(type, name, parameters) extern type(*name) parameters;
CL_FUNCTIONS(CL_DECLARE)
CL_CREATORS(CL_DECLARE_CREATOR)
CL_COMMAND_BUFFER_FUNCTIONS(CL_DECLARE_CREATOR)
CL_RECORDABLE_QUEUE_FUNCTIONS(CL_DECLARE_CREATOR)
CL_SUB_GROUP_FUNCTIONS(CL_DECLARE_CREATOR)
#undef CL_DECLARE
#undef CL_DECLARE_CREATOR

std::string error_name(Int code);
void check(Int code, const char *call);  // throws pocket::DeviceFailure unless the code is 0

// Owns one OpenCL object and releases it.
template <class T>
class Owned {
 public:
  Owned() = default;
  explicit Owned(T object) : object_(object) {}
  Owned(Owned &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Owned &operator=(Owned &&other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() {
    if (object_) release(object_);
  }
  T get() const { return object_; }
  explicit operator bool() const { return object_; }

 private:
  static void release(Context c) { ReleaseContext(c); }
  static void release(Queue q) { ReleaseCommandQueue(q); }
  static void release(Memory m) { ReleaseMemObject(m); }
  static void release(Program p) { ReleaseProgram(p); }
  static void release(Kernel k) { ReleaseKernel(k); }
  static void release(Event e) { ReleaseEvent(e); }
  static void release(CommandBuffer b) { ReleaseCommandBufferKHR(b); }
  static void release(QcomRecording r) { ReleaseRecordingQCOM(r); }
  T object_ = nullptr;
};

}  // namespace cl
