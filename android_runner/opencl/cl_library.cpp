#include "opencl/cl_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <mutex>

namespace cl {
namespace {

constexpr Int INVALID_OPERATION = -59;

// The functions belong to the process: one library serves every plan that is open in it.
std::mutex loading;
void *loaded = nullptr;
std::string loaded_name;

const char *const PLACES[] = {
    "libOpenCL.so.1",
    "libOpenCL.so",
    "/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "/system/lib64/libOpenCL.so",
    "libOpenCL-pixel.so",
    "/vendor/lib64/libOpenCL-pixel.so",
    "/system/vendor/lib64/libOpenCL-pixel.so",
    "/vendor/lib64/egl/libGLES_mali.so",
    "/system/vendor/lib64/egl/libGLES_mali.so",
    "libGLES_mali.so",
    "libmali.so",
    "libPVROCL.so",
    "/vendor/lib64/libPVROCL.so",
};

// Libraries that apps may use across the border between system and vendor; Android's linker opens
// them only for this function.
const char *const SPHAL[] = {"libOpenCL.so", "libOpenCL-pixel.so", "libGLES_mali.so"};
using LoadSphal = void *(*)(const char *name, int flags);

// --- what stands in for missing functions --------------------------------------------------------

template <class F>
struct Instead;

template <class... Parameters>
struct Instead<Int (*)(Parameters...)> {
  static Int refuse(Parameters...) { return INVALID_OPERATION; }
  static Int ignore(Parameters...) { return 0; }
};

Int fill(Queue queue, Memory memory, const void *pattern, size_t pattern_size, size_t offset,
         size_t size, Uint count, const Event *wait, Event *) {
  constexpr size_t BLOCK = 1 << 20;
  std::string block;
  while (block.size() < std::min(size, BLOCK))
    block.append(static_cast<const char *>(pattern), pattern_size);
  Int code = count ? WaitForEvents(count, wait) : 0;
  for (size_t done = 0; done < size && code == 0; done += block.size())
    code = EnqueueWriteBuffer(queue, memory, 1, offset + done, std::min(block.size(), size - done),
                              block.data(), 0, nullptr, nullptr);
  return code;
}

// --- one library ---------------------------------------------------------------------------------

void *(*extension_function)(Platform, const char *) = nullptr;
void *(*early_extension_function)(const char *) = nullptr;

void *by_name(Platform, const char *name) { return early_extension_function(name); }

class Library {
 public:
  explicit Library(void *handle) : handle_(handle) {
    if (dlsym(handle_, "clGetPlatformIDs")) return;
    hand_out_ = reinterpret_cast<decltype(hand_out_)>(dlsym(handle_, "loadOpenCLPointer"));
    const auto enable = reinterpret_cast<void (*)()>(dlsym(handle_, "enableOpenCL"));
    if (hand_out_ && enable) enable();
  }

  template <class F>
  bool find(const char *symbol, F &function, F instead = nullptr) const {
    void *const found = hand_out_ ? hand_out_(symbol) : dlsym(handle_, symbol);
    function = found ? reinterpret_cast<F>(found) : instead;
    return found;
  }

 private:
  void *handle_;
  void *(*hand_out_)(const char *) = nullptr;  // a Pixel's
};

void find_helpful(const Library &library) {
#define CL_FIND_OR_REFUSE(name, parameters) \
  library.find("cl" #name, name, &Instead<decltype(name)>::refuse);
#define CL_FIND_OR_IGNORE(name, parameters) \
  library.find("cl" #name, name, &Instead<decltype(name)>::ignore);
#define CL_FIND_CREATOR(type, name, parameters) library.find("cl" #name, name);
  CL_HELPFUL(CL_FIND_OR_REFUSE)
  CL_RELEASES(CL_FIND_OR_IGNORE)
  CL_CREATORS_HELPFUL(CL_FIND_CREATOR)
  library.find("clEnqueueFillBuffer", EnqueueFillBuffer, &fill);
  const bool early = library.find("clGetExtensionFunctionAddress", early_extension_function);
  library.find("clGetExtensionFunctionAddressForPlatform", extension_function,
               early ? &by_name : nullptr);
}

// Looks up all functions; the names of those that are needed and missing.
std::string find_functions(const Library &library) {
  std::string missing;
  const auto miss = [&](const char *name) {
    missing += (missing.empty() ? "" : ", ") + std::string(name);
  };
#define CL_FIND_NEEDED(name, parameters) \
  if (!library.find("cl" #name, name)) miss("cl" #name);
#define CL_FIND_CREATOR_NEEDED(type, name, parameters) CL_FIND_NEEDED(name, parameters)
  CL_NEEDED(CL_FIND_NEEDED)
  CL_CREATORS_NEEDED(CL_FIND_CREATOR_NEEDED)
  find_helpful(library);
  if (!CreateCommandQueue && !CreateCommandQueueWithProperties) miss("clCreateCommandQueue");
  return missing;
}

// Why nothing can be done with the library; empty when something can.
std::string refusal(void *handle) {
  const std::string missing = find_functions(Library(handle));
  if (!missing.empty())
    return missing + (missing.find(',') == std::string::npos ? " is" : " are") + " missing in it";
  Uint platforms = 0;
  const Int code = GetPlatformIDs(0, nullptr, &platforms);
  if (code == 0 && platforms > 0) return "";
  return "it lists no platform" + (code ? ": " + error_name(code) : "");
}

// --- the search ----------------------------------------------------------------------------------

class Search {
 public:
  // True when this library can be used.
  bool attempt(const std::string &name) {
    return judge(name, dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL));
  }

  bool attempt_sphal() {
    void *const support = dlopen("libvndksupport.so", RTLD_NOW | RTLD_LOCAL);
    const auto open =
        support ? reinterpret_cast<LoadSphal>(dlsym(support, "android_load_sphal_library"))
                : nullptr;
    return open && std::any_of(std::begin(SPHAL), std::end(SPHAL), [&](const char *name) {
             return judge(std::string("vendor's ") + name, open(name, RTLD_NOW | RTLD_LOCAL));
           });
  }

  NoLibrary failure() const {
    return opened_ ? NoLibrary("OpenCL lists no device", reasons_,
                               "install a driver: apt-get install pocl-opencl-icd    or  "
                               "pip install 'pocketcl[desktop]'")
                   : NoLibrary("no OpenCL library is here", reasons_,
                               "apt-get install pocl-opencl-icd, or --cl-lib PATH");
  }

  std::string name;  // of the library that can be used
  void *library = nullptr;

 private:
  bool judge(const std::string &tried, void *handle) {
    const char *error = handle ? nullptr : dlerror();
    std::string reason = handle ? refusal(handle) : error ? error : "it can't be loaded";
    if (reason.empty()) {
      library = handle;
      name = tried;
      return true;
    }
    opened_ |= handle && reason.rfind("it lists", 0) == 0;
    if (reason.find(tried) == std::string::npos) reason = tried + ": " + reason;
    reasons_ += (reasons_.empty() ? "" : "; ") + reason;
    return false;
  }

  std::string reasons_;
  bool opened_ = false;  // one was complete and listed no platform
};

// Qualcomm's functions are symbols of its library, too.
void *of_extension(Platform platform, const char *name) {
  void *const found = extension_function ? extension_function(platform, name) : nullptr;
  return found ? found : dlsym(loaded, name);
}

std::string same_again(const std::string &wanted) {
  if (wanted.empty()) return loaded_name;
  void *const library = dlopen(wanted.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library) dlclose(library);
  if (library == loaded) return loaded_name;
  throw pocket::Failure(wanted + " can't be loaded too",
                        "this process uses " + loaded_name + " already",
                        "one OpenCL library for all plans of a process");
}

}  // namespace

std::string load(const std::string &wanted) {
  const std::lock_guard<std::mutex> lock(loading);
  if (loaded) return same_again(wanted);
  Search search;
  const bool found = wanted.empty()
                         ? std::any_of(std::begin(PLACES), std::end(PLACES),
                                       [&](const char *place) { return search.attempt(place); }) ||
                               search.attempt_sphal()
                         : search.attempt(wanted);
  if (!found) throw search.failure();
  loaded = search.library;
  return loaded_name = search.name;
}

// Of one platform: those of another may be other functions.
#define CL_LOOK_UP(type, name, parameters)                                            \
  name = reinterpret_cast<type(*) parameters>(of_extension(platform, "cl" #name)); \
  complete = complete && name;
#define CL_LOADER(load, FUNCTIONS)                              \
  bool load(Platform platform) {                                \
    const std::lock_guard<std::mutex> lock(loading);            \
    static Platform of = nullptr; /* whose were looked up */    \
    if (of) return of == platform;                              \
    bool complete = true;                                       \
    FUNCTIONS(CL_LOOK_UP)                                       \
    if (complete) of = platform;                                \
    return complete;                                            \
  }
CL_LOADER(load_command_buffers, CL_COMMAND_BUFFER_FUNCTIONS)
CL_LOADER(load_recordable_queues, CL_RECORDABLE_QUEUE_FUNCTIONS)
CL_LOADER(load_sub_groups, CL_SUB_GROUP_FUNCTIONS)

}  // namespace cl
