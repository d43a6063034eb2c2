#include "opencl/cl_api.h"

#include "base/failure.h"

namespace cl {

#define CL_DEFINE(name, parameters) Int(*name) parameters = nullptr;
#define CL_DEFINE_CREATOR(type, name, parameters) type(*name) parameters = nullptr;
CL_FUNCTIONS(CL_DEFINE)
CL_CREATORS(CL_DEFINE_CREATOR)
CL_COMMAND_BUFFER_FUNCTIONS(CL_DEFINE_CREATOR)
CL_RECORDABLE_QUEUE_FUNCTIONS(CL_DEFINE_CREATOR)
CL_SUB_GROUP_FUNCTIONS(CL_DEFINE_CREATOR)

std::string error_name(Int code) {
  static const struct {
    Int code;
    const char *name;
  } names[] = {
      {-1, "DEVICE_NOT_FOUND"},
      {-2, "DEVICE_NOT_AVAILABLE"},
      {-3, "COMPILER_NOT_AVAILABLE"},
      {-4, "MEM_OBJECT_ALLOCATION_FAILURE"},
      {-5, "OUT_OF_RESOURCES"},
      {-6, "OUT_OF_HOST_MEMORY"},
      {-11, "BUILD_PROGRAM_FAILURE"},
      {-13, "MISALIGNED_SUB_BUFFER_OFFSET"},
      {-14, "EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
      {-30, "INVALID_VALUE"},
      {-33, "INVALID_DEVICE"},
      {-34, "INVALID_CONTEXT"},
      {-36, "INVALID_COMMAND_QUEUE"},
      {-38, "INVALID_MEM_OBJECT"},
      {-42, "INVALID_BINARY"},
      {-43, "INVALID_BUILD_OPTIONS"},
      {-44, "INVALID_PROGRAM"},
      {-45, "INVALID_PROGRAM_EXECUTABLE"},
      {-46, "INVALID_KERNEL_NAME"},
      {-48, "INVALID_KERNEL"},
      {-49, "INVALID_ARG_INDEX"},
      {-50, "INVALID_ARG_VALUE"},
      {-51, "INVALID_ARG_SIZE"},
      {-52, "INVALID_KERNEL_ARGS"},
      {-53, "INVALID_WORK_DIMENSION"},
      {-54, "INVALID_WORK_GROUP_SIZE"},
      {-55, "INVALID_WORK_ITEM_SIZE"},
      {-56, "INVALID_GLOBAL_OFFSET"},
      {-59, "INVALID_OPERATION"},
      {-61, "INVALID_BUFFER_SIZE"},
      {-63, "INVALID_GLOBAL_WORK_SIZE"},
      {-1138, "INVALID_COMMAND_BUFFER_KHR"},
      {-1140, "INCOMPATIBLE_COMMAND_QUEUE_KHR"},
      {-1001, "PLATFORM_NOT_FOUND_KHR"},
      {-9999, "an illegal access, seen by the driver"},
  };
  for (const auto &entry : names)
    if (entry.code == code)
      return std::string("CL_") + entry.name + " (" + std::to_string(code) + ")";
  return "OpenCL error " + std::to_string(code);
}

void check(Int code, const char *call) {
  if (code == 0) return;
  const bool memory = code == -4 || code == -5 || code == -6;
  throw pocket::DeviceFailure(std::string("the OpenCL device failed in ") + call, error_name(code),
                              memory ? "a smaller --max-context or a smaller model, or free memory"
                                     : "pocketcl doctor; the same run with --on host");
}

}  // namespace cl
