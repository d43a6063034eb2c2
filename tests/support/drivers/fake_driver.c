/* A driver for the runner's --cl-lib that stands before the system's. Like a Pixel's library it has
 * no cl* symbols, but hands the functions out, and it can lack some, list nothing, call itself
 * something else, write down what it is asked, and die of kernels that are marked. By environment:
 *   FAKE_REAL        the library that does the work; by default the loader by name
 *   FAKE_MISSING     names of functions that it lacks, each between commas
 *   FAKE_EMPTY       lists no platform
 *   FAKE_EXTENSIONS  listed in addition
 *   FAKE_GPU         the device says that it is one
 *   FAKE_DISCRETE    the device says that its memory is its own
 *   FAKE_CONTROLS    what it says of cl_arm_scheduling_controls; all of it
 *   FAKE_VERSION     of the driver, FAKE_OPENCL of OpenCL ("OpenCL 2.0 …")
 *   FAKE_LOG         a file: a line for builds of marked programs, properties and flushes
 *   FAKE_LAUNCHES    and for each launch (offset and size), each marker and each wait for one
 *   FAKE_WRITES      and for each write of a buffer (bytes)
 *   FAKE_DEATH       segv, abort, exit, hang, kill, kill-child or none: how
 *                    it ends in clBuildProgram of a source that says FATAL, or
 *   FAKE_AT          "launch": in the first launch of such a kernel, "kernel": when it is made,
 *                    "load": when its binary is loaded, "record": in any recording, "image": when
 *                    any image is made
 *   FAKE_CODE        what it answers there instead of dying (FAKE_DEATH unset), FAKE_TIMES times
 *   FAKE_MARK        what marked sources say; FATAL by default
 *   FAKE_WRONG       "this|that": such a source is built with that in place of this, and computes
 *                    something else, as where a compiler is wrong
 *   FAKE_MOST, FAKE_LOCAL, FAKE_PRIVATE  what it says that such a kernel takes: items of a
 *                    work-group at most, bytes of local and of private memory (others: none)
 *   FAKE_TEXELS      of an image over a buffer, at most
 *   FAKE_SUB_GROUP   items of any kernel's sub-groups; with FAKE_LOG also how it was asked */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void *P;
typedef const void *C;
typedef const size_t *S;

static void *library;
static int enabled;
static P marked[1024], marked_kernels[1024];
static int programs, kernels;

#define REAL(name) ((__typeof__(&name))dlsym(library, #name))

static const char *setting(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

static void tell(const char *format, ...) {
  char line[200];
  va_list list;
  va_start(list, format);
  const int size = vsnprintf(line, sizeof line, format, list);
  va_end(list);
  const int file = open(setting("FAKE_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0644);
  if (file < 0) return;
  if (write(file, line, size) != size) abort();
  close(file);
}

static int is_child(void) {
  char words[4096];
  const int file = open("/proc/self/cmdline", O_RDONLY);
  const ssize_t size = read(file, words, sizeof words);
  close(file);
  return size > 0 && memmem(words, size, "--build", sizeof "--build");
}

static void die(void) {
  const char *death = setting("FAKE_DEATH");
  if (!*death || !strcmp(death, "none") || (!strcmp(death, "kill-child") && !is_child())) return;
  fprintf(stderr, "the fake compiler is lost\n");
  if (!strcmp(death, "segv")) *(volatile int *)8 = 1;
  if (!strcmp(death, "abort")) abort();
  if (!strcmp(death, "exit")) exit(3);
  if (!strcmp(death, "kill")) raise(SIGKILL);
  if (!strcmp(death, "kill-child")) raise(SIGKILL);
  if (!strcmp(death, "hang")) pause();
}

/* The code that a marked program or kernel gets in this place, 0 if none. */
static int refusal(const char *where) {
  static int times = -1;
  if (times < 0) times = *setting("FAKE_TIMES") ? atoi(setting("FAKE_TIMES")) : 1 << 30;
  if (strcmp(setting("FAKE_AT"), where) || !*setting("FAKE_CODE") || !times) return 0;
  --times;
  return atoi(setting("FAKE_CODE"));
}

static int is_in(P *list, int count, P what) {
  while (count--)
    if (list[count] == what) return 1;
  return 0;
}

static int at(const char *where) { return !strcmp(setting("FAKE_AT"), where); }

int clGetPlatformIDs(unsigned n, P list, unsigned *count) {
  if (!*setting("FAKE_EMPTY")) return REAL(clGetPlatformIDs)(n, list, count);
  return -1001;
}

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

/* The text with what FAKE_WRONG puts in. */
static char *mistaken(const char *text, size_t size) {
  const char *this = setting("FAKE_WRONG"), *that = strchr(this, '|');
  const char *found = that ? memmem(text, size, this, that - this) : NULL;
  char *wrong = NULL;
  const char *rest = found ? found + (that - this) : NULL;
  if (found && asprintf(&wrong, "%.*s%s%.*s", (int)(found - text), text, that + 1,
                        (int)(text + size - rest), rest) < 0)
    abort();
  return wrong;
}

/* A program may lie where one lay that has been released. */
static void mark(P program, int fatal) {
  for (int i = 0; i < programs; ++i)
    if (marked[i] == program) marked[i] = NULL;
  if (fatal) marked[programs++] = program;
}

P clCreateProgramWithSource(P context, unsigned n, const char **texts, S sizes, int *code) {
  const char *says = *setting("FAKE_MARK") ? setting("FAKE_MARK") : "FATAL";
  const int fatal = memmem(texts[0], sizes[0], says, strlen(says)) != NULL;
  const char *wrong = fatal ? mistaken(texts[0], sizes[0]) : NULL;
  const size_t length = wrong ? strlen(wrong) : 0;
  P made = wrong ? REAL(clCreateProgramWithSource)(context, n, &wrong, &length, code)
                 : REAL(clCreateProgramWithSource)(context, n, texts, sizes, code);
  mark(made, fatal);
  return made;
}

P clCreateProgramWithBinary(P context, unsigned n, C devices, S sizes, const unsigned char **data,
                            int *status, int *code) {
  P made = REAL(clCreateProgramWithBinary)(context, n, devices, sizes, data, status, code);
  const int fatal = memmem(data[0], sizes[0], "fatal_name", 10) != NULL;
  mark(made, fatal);
  if (fatal) {
    tell("load\n");
    if (at("load")) die();
  }
  return made;
}

int clBuildProgram(P program, unsigned n, C devices, const char *options, P call, P data) {
  if (is_in(marked, programs, program)) {
    tell("build\n");
    if (at("")) die();
    if (refusal("")) return atoi(setting("FAKE_CODE"));
  }
  return REAL(clBuildProgram)(program, n, devices, options, call, data);
}

P clCreateKernel(P program, const char *name, int *code) {
  if (is_in(marked, programs, program) && (*code = refusal("kernel"))) return NULL;
  P made = REAL(clCreateKernel)(program, name, code);
  for (int i = 0; i < kernels; ++i) /* where one of these was released */
    if (marked_kernels[i] == made) marked_kernels[i] = NULL;
  if (is_in(marked, programs, program)) {
    marked_kernels[kernels++] = made;
    if (at("kernel")) die();
  }
  return made;
}

int clCreateKernelsInProgram(P program, unsigned n, P list, unsigned *count) {
  if (is_in(marked, programs, program) && at("kernel")) die();
  return REAL(clCreateKernelsInProgram)(program, n, list, count);
}

int clEnqueueNDRangeKernel(P q, P k, unsigned d, S o, S g, S l, unsigned n, C w, P e) {
  if (is_in(marked_kernels, kernels, k) && at("launch")) {
    tell("launch\n");
    die();
    const int code = refusal("launch");
    if (code) return code;
  }
  if (*setting("FAKE_LAUNCHES")) tell("launched %p %zu+%zu\n", k, o ? o[0] : 0, g[0]);
  return REAL(clEnqueueNDRangeKernel)(q, k, d, o, g, l, n, w, e);
}

static P markers[4096];
static int marks;

int clEnqueueMarkerWithWaitList(P q, unsigned n, C waits, P *event) {
  const int code = REAL(clEnqueueMarkerWithWaitList)(q, n, waits, event);
  markers[marks++ % 4096] = *event;
  if (*setting("FAKE_LAUNCHES")) tell("marked\n");
  return code;
}

int clWaitForEvents(unsigned n, const P *events) {
  if (*setting("FAKE_LAUNCHES") && is_in(markers, marks < 4096 ? marks : 4096, events[0]))
    tell("waited\n");
  return REAL(clWaitForEvents)(n, events);
}

int clEnqueueReadBuffer(P q, P buffer, unsigned blocking, size_t at, size_t size, P into,
                        unsigned n, C waits, P event) {
  const int code =
      REAL(clEnqueueReadBuffer)(q, buffer, blocking, at, size, into, n, waits, event);
  if (*setting("FAKE_LAUNCHES") && blocking) tell("read\n");
  return code;
}

int clEnqueueWriteBuffer(P q, P buffer, unsigned blocking, size_t at, size_t size, C from,
                         unsigned n, C waits, P event) {
  if (*setting("FAKE_WRITES")) tell("write %zu\n", size);
  return REAL(clEnqueueWriteBuffer)(q, buffer, blocking, at, size, from, n, waits, event);
}

/* Hints that the real driver does not know are told and left out. */
P clCreateContext(const intptr_t *props, unsigned n, C devices, P call, P data, int *code) {
  for (const intptr_t *at = props + 2; *at; at += 2) tell("context %lx=%lx\n", at[0], at[1]);
  const intptr_t known[] = {props[0], props[1], 0};
  return REAL(clCreateContext)(known, n, devices, call, data, code);
}

P clCreateCommandQueueWithProperties(P context, P device, const uint64_t *props, int *code) {
  for (const uint64_t *at = props; *at; at += 2) tell("queue %lx=%lx\n", at[0], at[1]);
  if (strstr(setting("FAKE_EXTENSIONS"), "refused") && props[2]) return *code = -30, NULL;
  const uint64_t known[] = {props[0], props[1], 0};
  return REAL(clCreateCommandQueueWithProperties)(context, device, known, code);
}

P clCreateImage(P context, uint64_t flags, C format, C desc, P host, int *code) {
  if ((*code = refusal("image"))) return NULL;
  return REAL(clCreateImage)(context, flags, format, desc, host, code);
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

static P (*real_record)(unsigned, C, C, int *);

static P record(unsigned n, C queues, C props, int *code) {
  die();
  return real_record(n, queues, props, code);
}

void *clGetExtensionFunctionAddressForPlatform(P platform, const char *name) {
  if (!strcmp(name, "clGetKernelSubGroupInfoKHR"))
    return *setting("FAKE_SUB_GROUP") ? (P)clGetKernelSubGroupInfoKHR : NULL;
  P found = REAL(clGetExtensionFunctionAddressForPlatform)(platform, name);
  if (!found || !at("record") || strcmp(name, "clCreateCommandBufferKHR")) return found;
  real_record = (P(*)(unsigned, C, C, int *))found;
  return (P)record;
}

int clGetKernelWorkGroupInfo(P kernel, P device, unsigned key, size_t size, P value, size_t *needed) {
  const char *said = key == 0x11B0   ? setting("FAKE_MOST")
                     : key == 0x11B2 ? setting("FAKE_LOCAL")
                     : key == 0x11B4 ? setting("FAKE_PRIVATE")
                                     : "";
  const int is_marked = is_in(marked_kernels, kernels, kernel);
  if (*said && !is_marked && key == 0x11B4) said = "0";
  else if (!is_marked) said = "";
  if (!*said)
    return REAL(clGetKernelWorkGroupInfo)(kernel, device, key, size, value, needed);
  *(uint64_t *)value = strtoull(said, NULL, 10);
  return 0;
}

int clFinish(P queue) {
  tell("finish\n");
  return REAL(clFinish)(queue);
}

int clFlush(P queue) {
  tell("flush\n");
  return REAL(clFlush)(queue);
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
      OWN(clEnqueueWriteBuffer)
      OWN(clGetExtensionFunctionAddressForPlatform)};
  char between[80];
  snprintf(between, sizeof between, ",%s,", name);
  if (!enabled || strstr(setting("FAKE_MISSING"), between)) return NULL;
  for (size_t i = 0; i < sizeof own / sizeof *own; ++i)
    if (!strcmp(own[i].name, name)) return dlsym(library, name) ? own[i].function : NULL;
  return dlsym(library, name);
}
