#include "cl_api.h"

#include <dlfcn.h>

#include <mutex>

#include "failure.h"

namespace cl {

#define CL_DEFINE(name, parameters) Int(*name) parameters = nullptr;
#define CL_DEFINE_CREATOR(type, name, parameters) type(*name) parameters = nullptr;
CL_FUNCTIONS(CL_DEFINE)
CL_CREATORS(CL_DEFINE_CREATOR)
CL_COMMAND_BUFFER_FUNCTIONS(CL_DEFINE_CREATOR)

namespace {

// The functions belong to the process: one library serves every plan that is open in it.
std::mutex loading;
void *loaded = nullptr;
std::string loaded_name;
Platform recording = nullptr;  // whose command buffers were looked up

void *(*extension_function)(Platform, const char *) = nullptr;

// By name first (a desktop's loader, a phone's LD_LIBRARY_PATH), then where vendors put it.
const char *const PLACES[] = {
    "libOpenCL.so.1",
    "libOpenCL.so",
    "/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "/system/lib64/libOpenCL.so",
    "/vendor/lib64/egl/libGLES_mali.so",
    "/system/vendor/lib64/egl/libGLES_mali.so",
    "libmali.so",
    "libPVROCL.so",
};

void *open_library(const std::string &wanted, std::string &name, std::string &errors) {
  const auto attempt = [&](const std::string &path) {
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    const char *error = library ? nullptr : dlerror();
    if (error) errors += (errors.empty() ? "" : "; ") + std::string(error);
    name = path;
    return library;
  };
  if (!wanted.empty()) return attempt(wanted);
  for (const char *place : PLACES)
    if (void *library = attempt(place)) return library;
  return nullptr;
}

template <class F>
void find(void *library, const char *symbol, F &function) {
  function = reinterpret_cast<F>(dlsym(library, symbol));
  if (!function)
    throw pocket::Failure("the OpenCL library is too old",
                          std::string(symbol) + " is missing in it",
                          "install a driver for OpenCL 1.2 or newer");
}

}  // namespace

std::string load(const std::string &wanted) {
  const std::lock_guard<std::mutex> lock(loading);
  if (loaded && wanted.empty()) return loaded_name;
  std::string name, errors;
  void *library = open_library(wanted, name, errors);
  if (!library)
    throw pocket::Failure("no OpenCL library is here", errors,
                          "apt-get install pocl-opencl-icd, or --cl-lib PATH");
  if (loaded) {
    const bool same = library == loaded;
    dlclose(library);
    if (same) return loaded_name;
    throw pocket::Failure(name + " can't be loaded too",
                          "this process uses " + loaded_name + " already",
                          "one OpenCL library for all plans of a process");
  }
#define CL_FIND(name, parameters) find(library, "cl" #name, name);
#define CL_FIND_CREATOR(type, name, parameters) find(library, "cl" #name, name);
  CL_FUNCTIONS(CL_FIND)
  CL_CREATORS(CL_FIND_CREATOR)
  extension_function = reinterpret_cast<decltype(extension_function)>(
      dlsym(library, "clGetExtensionFunctionAddressForPlatform"));
  loaded = library;
  loaded_name = name;
  return name;
}

// Of one platform: those of another may be other functions.
bool load_command_buffers(Platform platform) {
  const std::lock_guard<std::mutex> lock(loading);
  if (!extension_function || recording) return recording && recording == platform;
  bool complete = true;
#define CL_LOOK_UP(type, name, parameters)                                               \
  name = reinterpret_cast<type(*) parameters>(extension_function(platform, "cl" #name)); \
  complete = complete && name;
  CL_COMMAND_BUFFER_FUNCTIONS(CL_LOOK_UP)
  if (complete) recording = platform;
  return complete;
}

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
