// Finds the OpenCL library, on a desktop or a phone, and every function in it.
//
// By name first, then where vendors put it, in the order that other engines have proved on phones.
// A Pixel's library has no cl* symbols, but a function that hands them out. The next library is
// tried where one can't be loaded, lacks a function that is needed, or lists no platform.
#pragma once
#include <string>

#include "base/failure.h"
#include "opencl/cl_api.h"

namespace cl {

struct NoLibrary : pocket::Failure {
  using Failure::Failure;
};

// Loads the library, once for the process, and returns its name; only the one that is `wanted`, if
// that isn't empty. Throws NoLibrary, which tells of every library tried. Both from any thread.
std::string load(const std::string &wanted);

// Extensions: what records launches (cl_khr_command_buffer, cl_qcom_recordable_queues), and what
// tells of sub-groups (cl_khr_subgroups). False: a function is
// missing, or another platform's are used.
bool load_command_buffers(Platform platform);
bool load_recordable_queues(Platform platform);
bool load_sub_groups(Platform platform);

}  // namespace cl
