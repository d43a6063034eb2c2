/* Of fake_driver.c: what it says of its device and of kernels. */
#include "fake_driver.h"

#include <stdlib.h>

int clGetDeviceInfo(P device, unsigned key, size_t size, P value, size_t *needed) {
  int code = REAL(clGetDeviceInfo)(device, key, size, value, needed);
  if (key == 0x1000 && *setting("FAKE_GPU") && value) *(uint64_t *)value = 4;
  if (key == 0x1035 && *setting("FAKE_DISCRETE") && value) *(uint32_t *)value = 0;
  if (key == 0x1002 && strstr(setting("FAKE_EXTENSIONS"), "cl_arm") && value) *(uint32_t *)value = 2;
  if (key == 0x41E4 && value) /* CL_DEVICE_SCHEDULING_CONTROLS_CAPABILITIES_ARM */
    return *(uint64_t *)value = *setting("FAKE_CONTROLS") ? atoi(setting("FAKE_CONTROLS")) : 255, 0;
  if (key == 0x1040 && *setting("FAKE_TEXELS") && value)
    return *(size_t *)value = strtoull(setting("FAKE_TEXELS"), NULL, 10), 0;
  const char *more = key == 0x1030 ? setting("FAKE_EXTENSIONS") : "";
  const char *version = key == 0x102D   ? setting("FAKE_VERSION")
                        : key == 0x102F ? setting("FAKE_OPENCL")
                                        : "";
  if (*version) {
    more = version;
    if (value) *(char *)value = 0;
  }
  if (*more && value) strcat(strcat(value, *version ? "" : " "), more);
  if (*more && needed) *needed += strlen(more) + 2;
  return *more ? 0 : code;
}

static int sub_groups(const char *by, unsigned key, size_t size, const size_t *local, P value) {
  if (key != 0x2033 || !size || size % sizeof *local || !*setting("FAKE_SUB_GROUP")) return -30;
  tell("%s of %zu\n", by, local[0]);
  *(size_t *)value = strtoull(setting("FAKE_SUB_GROUP"), NULL, 10);
  return 0;
}

int clGetKernelSubGroupInfo(P kernel, P device, unsigned key, size_t size, C local, size_t room,
                            P value, size_t *needed) {
  (void)kernel, (void)device, (void)room, (void)needed;
  return sub_groups("core", key, size, local, value);
}

int clGetKernelSubGroupInfoKHR(P kernel, P device, unsigned key, size_t size, C local, size_t room,
                               P value, size_t *needed) {
  (void)kernel, (void)device, (void)room, (void)needed;
  return sub_groups("extension", key, size, local, value);
}

int clGetKernelWorkGroupInfo(P kernel, P device, unsigned key, size_t size, P value, size_t *needed) {
  const char *said = key == 0x11B0   ? setting("FAKE_MOST")
                     : key == 0x11B2 ? setting("FAKE_LOCAL")
                     : key == 0x11B4 ? setting("FAKE_PRIVATE")
                                     : "";
  const int is_marked = is_marked_kernel(kernel);
  if (*said && !is_marked && key == 0x11B4) said = "0";
  else if (!is_marked) said = "";
  if (!*said)
    return REAL(clGetKernelWorkGroupInfo)(kernel, device, key, size, value, needed);
  *(uint64_t *)value = strtoull(said, NULL, 10);
  return 0;
}
