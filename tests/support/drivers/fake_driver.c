/* A driver for the runner's --cl-lib that stands before the system's. Like a Pixel's library it has
 * no cl* symbols, but hands the functions out, and it can lack some, list nothing, call itself
 * something else, write down what it is asked, and die of kernels that are marked. By environment:
 *   FAKE_REAL        the library that does the work; by default the loader by name
 *   FAKE_MISSING     names of functions that it lacks, each between commas
 *   FAKE_EMPTY       lists no platform
 *   FAKE_EXTENSIONS  listed in addition
 *   FAKE_GPU         the device says that it is one
 *   FAKE_DISCRETE    the device says that its memory is its own
 *   FAKE_QUEUES      queues that it makes at most
 *   FAKE_CONTROLS    what it says of cl_arm_scheduling_controls; all of it
 *   FAKE_VERSION     of the driver, FAKE_OPENCL of OpenCL ("OpenCL 2.0 …")
 *   FAKE_LOG         a file: a line for builds of marked programs, properties and flushes
 *   FAKE_LAUNCHES    and for each launch (offset and size), each marker and each wait for one
 *   FAKE_MARKERS     with their addresses
 *   FAKE_WRITES      and for each write and map of a buffer (bytes)
 *   FAKE_DEATH       segv, abort, exit, hang, kill, kill-child or none: how
 *                    it ends in clBuildProgram of a source that says FATAL, or
 *   FAKE_AT          "launch": in the first launch of such a kernel, "kernel": when it is made,
 *                    "load": when its binary is loaded, "record": in any recording, "image": when
 *                    any image is made
 *   FAKE_CODE        what it answers there instead of dying (FAKE_DEATH unset), FAKE_TIMES times
 *   FAKE_ARGUMENT    a file: once it is there, an argument of a kernel is refused and the file removed
 *   FAKE_MARK        what marked sources say; FATAL by default
 *   FAKE_WRONG       "this|that": such a source is built with that in place of this, and computes
 *                    something else, as where a compiler is wrong
 *   FAKE_MOST, FAKE_LOCAL, FAKE_PRIVATE  what it says that such a kernel takes: items of a
 *                    work-group at most, bytes of local and of private memory (others: none)
 *   FAKE_TEXELS      of an image over a buffer, at most
 *   FAKE_SUB_GROUP   items of any kernel's sub-groups; with FAKE_LOG also how it was asked
 * Here is how it is found; fake_deaths.c has what it dies of and refuses, fake_facts.c what it says,
 * fake_log.c what it writes down. */
#include "fake_driver.h"

#include <stdio.h>
#include <stdlib.h>

void *library;
static int enabled;

const char *setting(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

int is_in(P *list, int count, P what) {
  while (count--)
    if (list[count] == what) return 1;
  return 0;
}

int clGetPlatformIDs(unsigned n, P list, unsigned *count) {
  if (!*setting("FAKE_EMPTY")) return REAL(clGetPlatformIDs)(n, list, count);
  return -1001;
}

void *clGetExtensionFunctionAddressForPlatform(P platform, const char *name) {
  if (!strcmp(name, "clGetKernelSubGroupInfoKHR"))
    return *setting("FAKE_SUB_GROUP") ? (P)clGetKernelSubGroupInfoKHR : NULL;
  P found = REAL(clGetExtensionFunctionAddressForPlatform)(platform, name);
  return found && !strcmp(name, "clCreateCommandBufferKHR") ? fake_record(found) : found;
}

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void enableOpenCL(void) {
  const char *real = *setting("FAKE_REAL") ? setting("FAKE_REAL") : "libOpenCL.so.1";
  library = dlopen(real, RTLD_NOW | RTLD_LOCAL);
  enabled = library != NULL;
}

EXPORTED void *loadOpenCLPointer(const char *name) {
  static const struct {
    const char *name;
    void *function;
  } own[] = {
#define OWN(name) {#name, (void *)name},
      OWN(clGetPlatformIDs) OWN(clGetDeviceInfo) OWN(clCreateProgramWithSource)
      OWN(clCreateProgramWithBinary) OWN(clBuildProgram) OWN(clCreateKernel)
      OWN(clCreateKernelsInProgram) OWN(clEnqueueNDRangeKernel) OWN(clCreateContext)
      OWN(clCreateCommandQueueWithProperties) OWN(clFlush) OWN(clFinish)
      OWN(clGetKernelWorkGroupInfo) OWN(clGetKernelSubGroupInfo) OWN(clCreateImage)
      OWN(clEnqueueMarkerWithWaitList) OWN(clWaitForEvents) OWN(clEnqueueReadBuffer)
      OWN(clEnqueueWriteBuffer) OWN(clEnqueueMapBuffer) OWN(clSetKernelArg)
      OWN(clCreateCommandQueue) OWN(clGetExtensionFunctionAddressForPlatform)};
  char between[80];
  snprintf(between, sizeof between, ",%s,", name);
  if (!enabled || strstr(setting("FAKE_MISSING"), between)) return NULL;
  for (size_t i = 0; i < sizeof own / sizeof *own; ++i)
    if (!strcmp(own[i].name, name)) return dlsym(library, name) ? own[i].function : NULL;
  return dlsym(library, name);
}
