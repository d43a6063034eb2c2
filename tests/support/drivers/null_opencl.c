/* An OpenCL library with one device whose kernels do nothing: buffers are memory, events are done,
 * every program builds. So the loader, the planner of memory, the binding of arguments and the loop
 * of steps run in a millisecond.
 *
 * It is strict where drivers crash: what a caller may never do is counted as misuse, and named.
 * And it counts what it has made and nobody released. For one thread.
 *
 *   NULL_CL_FAIL=N         the Nth call that may fail does, once, with CL_OUT_OF_RESOURCES
 *   NULL_CL_MEMORY=N       the device says that it has so many bytes
 *   NULL_CL_UNIFIED=0      and that they are its own, not the host's
 *   NULL_CL_EXTENSIONS     what the device says: names between spaces
 *   NULL_CL_C_FEATURES     likewise, of OpenCL C 3.0
 *   NULL_CL_VERSION        likewise, a text
 *   NULL_CL_DRIVER         likewise, the version of its driver
 *   NULL_CL_HALF_CONFIG, NULL_CL_SUB_GROUPS, NULL_CL_IMAGES     numbers
 *                          what is unset, the device doesn't know, but for extensions and images */
#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { LARGEST = 1 << 26, TOTAL = 1 << 28, ALIGN = 128, LOCAL = 1 << 15, MOST_ARGS = 64, TEXELS = 1 << 20 };
enum {
  SUCCESS = 0,
  ALLOCATION_FAILURE = -4,
  OUT_OF_RESOURCES = -5,
  BUILD_FAILURE = -11,
  INVALID_VALUE = -30,
  INVALID_MEM = -38,
  INVALID_BINARY = -42,
  INVALID_PROGRAM_EXECUTABLE = -45,
  INVALID_KERNEL_NAME = -46,
  INVALID_ARG_INDEX = -49,
  INVALID_ARG_VALUE = -50,
  INVALID_KERNEL_ARGS = -52,
  INVALID_WORK_GROUP_SIZE = -54,
  INVALID_BUFFER_SIZE = -61
};

typedef struct Object {
  enum Kind { CONTEXT = 1, QUEUE, MEMORY, PROGRAM, KERNEL, EVENT, RECORDING } kind;
  int count;
  size_t size;          /* MEMORY; PROGRAM: of the text */
  char *data;           /* MEMORY, PROGRAM */
  struct Object *whole; /* MEMORY: of which this is a part */
  int args, set[MOST_ARGS], built, sealed;
} Object;

static int device, platform; /* only their addresses matter */
static long live, bytes, misuses, calls, fail_at = -1;
static char misuse_text[200];

/* --- for tests ------------------------------------------------------------------------------- */

EXPORT void null_cl_begin(long fail) { live = bytes = misuses = calls = 0, fail_at = fail; }
EXPORT long null_cl_live(void) { return live; }
EXPORT long null_cl_calls(void) { return calls; }
EXPORT const char *null_cl_misuse(void) { return misuses ? misuse_text : ""; }

__attribute__((constructor)) static void start(void) {
  const char *fail = getenv("NULL_CL_FAIL");
  if (fail) fail_at = atol(fail);
}

static int misuse(int code, const char *format, ...) {
  va_list values;
  va_start(values, format);
  if (!misuses++) vsnprintf(misuse_text, sizeof misuse_text, format, values);
  va_end(values);
  return code;
}

static int fails(void) { return ++calls == fail_at; }

/* --- objects --------------------------------------------------------------------------------- */

static int is(const Object *object, enum Kind kind) {
  return object && (object->kind == kind || misuse(0, "a handle of kind %d as %d", object->kind, kind));
}

static Object *make(enum Kind kind, int *code, int failure) {
  if (code) *code = failure;
  if (failure) return NULL;
  Object *object = calloc(1, sizeof *object);
  object->kind = kind;
  object->count = 1;
  ++live;
  return object;
}

static int release(Object *object, enum Kind kind) {
  if (!is(object, kind)) return misuse(INVALID_VALUE, "release of nothing");
  if (--object->count) return SUCCESS;
  if (object->whole) release(object->whole, MEMORY);
  else free(object->data);
  if (kind == MEMORY && !object->whole) bytes -= (long)object->size;
  object->kind = 0; /* a second release is seen, mostly */
  free(object);
  --live;
  return SUCCESS;
}

static int answer(const void *value, size_t have, size_t room, void *into, size_t *size) {
  if (size) *size = have;
  if (into && room < have) return misuse(INVALID_VALUE, "an answer of %zu in %zu bytes", have, room);
  if (into) memcpy(into, value, have);
  return SUCCESS;
}

#define ANSWER(type, ...)                                        \
  do {                                                           \
    const type value = __VA_ARGS__;                              \
    return answer(&value, sizeof value, room, into, size);       \
  } while (0)
#define TEXT(text) return answer(text, strlen(text) + 1, room, into, size)

static long number_of(const char *name, long otherwise) {
  const char *value = getenv(name);
  return value ? atol(value) : otherwise;
}

/* --- platform and device --------------------------------------------------------------------- */

typedef void *P;
typedef const void *C;
typedef const size_t *S;

EXPORT int clGetPlatformIDs(unsigned n, P *ids, unsigned *count) {
  if (count) *count = 1;
  if (ids && n) *ids = &platform;
  return SUCCESS;
}

EXPORT int clGetDeviceIDs(P p, uint64_t type, unsigned n, P *ids, unsigned *count) {
  (void)p, (void)type;
  if (count) *count = 1;
  if (ids && n) *ids = &device;
  return SUCCESS;
}

EXPORT int clGetPlatformInfo(P p, unsigned key, size_t room, void *into, size_t *size) {
  (void)p;
  if (key == 0x0901) TEXT("OpenCL 1.2 null");
  TEXT("Null");
}

/* The list of a text's words, each with a version, as OpenCL 3.0 has it. */
static int versioned(const char *words, size_t room, void *into, size_t *size) {
  struct NameVersion {
    uint32_t version;
    char name[64];
  } list[64] = {{0, ""}};
  size_t count = 0;
  for (; *words && count < 64; ++count) {
    const size_t length = strcspn(words, " ");
    memcpy(list[count].name, words, length);
    words += length + strspn(words + length, " ");
  }
  return answer(list, count * sizeof *list, room, into, size);
}

EXPORT int clGetDeviceInfo(P d, unsigned key, size_t room, void *into, size_t *size) {
  if (d != &device) return misuse(-33, "no device");
  const char *extensions = getenv("NULL_CL_EXTENSIONS"), *images = getenv("NULL_CL_IMAGES");
  const char *half = getenv("NULL_CL_HALF_CONFIG"), *groups = getenv("NULL_CL_SUB_GROUPS");
  const char *c_features = getenv("NULL_CL_C_FEATURES"), *version = getenv("NULL_CL_VERSION");
  const char *driver = getenv("NULL_CL_DRIVER");
  switch (key) {
    case 0x1000: ANSWER(uint64_t, 2);       /* TYPE: CPU */
    case 0x1002: ANSWER(uint32_t, 1);       /* MAX_COMPUTE_UNITS */
    case 0x1010: ANSWER(uint64_t, LARGEST); /* MAX_MEM_ALLOC_SIZE */
    case 0x1040: ANSWER(size_t, TEXELS); /* IMAGE_MAX_BUFFER_SIZE */
    case 0x1016: ANSWER(uint32_t, images ? (uint32_t)atol(images) : 1); /* IMAGE_SUPPORT */
    case 0x1019: ANSWER(uint32_t, 8 * ALIGN);
    case 0x101F: ANSWER(uint64_t, (uint64_t)number_of("NULL_CL_MEMORY", TOTAL));
    case 0x1023: ANSWER(uint64_t, LOCAL);
    case 0x102B: TEXT("null device");
    case 0x102D: TEXT(driver ? driver : "1.0");
    case 0x102F: TEXT(version ? version : "OpenCL 1.2 null");
    case 0x1030: TEXT(extensions ? extensions : "cl_khr_fp16 cl_khr_command_buffer");
    case 0x1033: /* HALF_FP_CONFIG */
      if (!half) return INVALID_VALUE;
      ANSWER(uint64_t, (uint64_t)atol(half));
    case 0x1035: ANSWER(uint32_t, (uint32_t)number_of("NULL_CL_UNIFIED", 1));
    case 0x105C: /* MAX_NUM_SUB_GROUPS */
      if (!groups) return INVALID_VALUE;
      ANSWER(uint32_t, (uint32_t)atol(groups));
    case 0x106F: /* OPENCL_C_FEATURES */
      return c_features ? versioned(c_features, room, into, size) : INVALID_VALUE;
    default: return INVALID_VALUE;
  }
}

EXPORT P clCreateContext(C props, unsigned n, const P *devices, P notify, P user, int *code) {
  (void)props, (void)n, (void)devices, (void)notify, (void)user;
  return make(CONTEXT, code, fails() ? OUT_OF_RESOURCES : SUCCESS);
}

EXPORT P clCreateCommandQueue(P context, P d, uint64_t flags, int *code) {
  (void)d, (void)flags;
  return make(QUEUE, code, !is(context, CONTEXT) ? -34 : fails() ? OUT_OF_RESOURCES : SUCCESS);
}

EXPORT int clReleaseContext(P o) { return release(o, CONTEXT); }
EXPORT int clReleaseCommandQueue(P o) { return release(o, QUEUE); }
EXPORT int clReleaseMemObject(P o) { return release(o, MEMORY); }
EXPORT int clReleaseProgram(P o) { return release(o, PROGRAM); }
EXPORT int clReleaseKernel(P o) { return release(o, KERNEL); }
EXPORT int clReleaseEvent(P o) { return release(o, EVENT); }
static int release_recording(P o) { return release(o, RECORDING); }

/* --- memory ---------------------------------------------------------------------------------- */

EXPORT P clCreateBuffer(P context, uint64_t flags, size_t size, void *host, int *code) {
  const int failure = !is(context, CONTEXT)     ? -34
                      : size == 0               ? misuse(INVALID_BUFFER_SIZE, "an empty buffer")
                      : size > LARGEST          ? misuse(INVALID_BUFFER_SIZE, "a buffer of %zu", size)
                      : bytes + size > TOTAL    ? ALLOCATION_FAILURE
                      : !host != !(flags & 8)   ? misuse(INVALID_VALUE, "host memory")
                      : fails()                 ? OUT_OF_RESOURCES
                                                : SUCCESS;
  Object *memory = make(MEMORY, code, failure);
  if (!memory) return NULL;
  memory->size = size;
  memory->data = malloc(size); /* not zeroed: whoever reads first must have written */
  if (host) memcpy(memory->data, host, size);
  else memset(memory->data, 0x5A, size);
  bytes += (long)size;
  return memory;
}

EXPORT P clCreateSubBuffer(P whole, uint64_t flags, unsigned type, const void *region, int *code) {
  (void)flags, (void)type;
  const size_t offset = ((S)region)[0], size = ((S)region)[1];
  const Object *memory = whole;
  const int failure = !is(memory, MEMORY) || memory->whole ? misuse(INVALID_MEM, "a part of nothing")
                      : size == 0                ? misuse(INVALID_BUFFER_SIZE, "an empty part")
                      : offset > memory->size || size > memory->size - offset
                          ? misuse(INVALID_VALUE, "a part behind the end")
                      : offset % ALIGN ? misuse(-13, "a part at %zu", offset)
                      : fails()        ? OUT_OF_RESOURCES
                                       : SUCCESS;
  Object *part = make(MEMORY, code, failure);
  if (!part) return NULL;
  part->whole = whole;
  part->whole->count++;
  part->data = part->whole->data + offset;
  part->size = size;
  return part;
}

/* All of a buffer, as texels of four words. */
EXPORT P clCreateImage(P context, uint64_t flags, C format, C desc, P host, int *code) {
  const struct Desc {
    unsigned type;
    size_t width, others[5];
    unsigned levels, samples;
    P whole;
  } *asked = desc;
  const unsigned *words = format;
  Object *whole = asked->whole;
  const int failure = !is(context, CONTEXT)               ? -34
                      : flags != 4 || host                ? misuse(INVALID_VALUE, "an image's flags")
                      : asked->type != 0x10F6             ? misuse(INVALID_VALUE, "another image")
                      : !is(whole, MEMORY) || whole->whole ? misuse(INVALID_MEM, "of no whole buffer")
                      : words[0] != 0x10B5 || words[1] != 0x10DC
                          ? misuse(-39, "texels of another format")
                      : !asked->width || asked->width > TEXELS || asked->width > whole->size / 16
                          ? misuse(-40, "an image of %zu texels", asked->width)
                      : fails() ? OUT_OF_RESOURCES
                                : SUCCESS;
  Object *image = make(MEMORY, code, failure);
  if (!image) return NULL;
  image->whole = whole;
  image->whole->count++;
  image->size = 16 * asked->width;
  return image;
}

static int done(P *event, int code) {
  if (code == SUCCESS && fails()) code = OUT_OF_RESOURCES;
  if (code == SUCCESS && event) *event = make(EVENT, NULL, SUCCESS);
  return code;
}

static int inside(const Object *memory, size_t offset, size_t size) {
  if (!is(memory, MEMORY)) return misuse(INVALID_MEM, "no buffer");
  if (size == 0 || offset > memory->size || size > memory->size - offset)
    return misuse(INVALID_VALUE, "%zu bytes at %zu of %zu", size, offset, memory->size);
  return SUCCESS;
}

EXPORT int clEnqueueReadBuffer(P q, P memory, unsigned block, size_t offset, size_t size, void *host,
                               unsigned n, C waits, P *event) {
  (void)block, (void)n, (void)waits;
  const int code = is(q, QUEUE) ? inside(memory, offset, size) : -36;
  if (code == SUCCESS) memcpy(host, ((Object *)memory)->data + offset, size);
  return done(event, code);
}

EXPORT int clEnqueueWriteBuffer(P q, P memory, unsigned block, size_t offset, size_t size, C host,
                                unsigned n, C waits, P *event) {
  (void)block, (void)n, (void)waits;
  const int code = is(q, QUEUE) ? inside(memory, offset, size) : -36;
  if (code == SUCCESS) memcpy(((Object *)memory)->data + offset, host, size);
  return done(event, code);
}

EXPORT int clEnqueueFillBuffer(P q, P memory, C pattern, size_t unit, size_t offset, size_t size,
                               unsigned n, C waits, P *event) {
  (void)n, (void)waits;
  int code = is(q, QUEUE) ? inside(memory, offset, size) : -36;
  if (code == SUCCESS && (unit == 0 || offset % unit || size % unit))
    code = misuse(INVALID_VALUE, "a fill of %zu by %zu", size, unit);
  if (code == SUCCESS) memset(((Object *)memory)->data + offset, *(const char *)pattern, size);
  return done(event, code);
}

/* --- programs and kernels -------------------------------------------------------------------- */

static P program(P context, const char *text, size_t size, int *code) {
  Object *made = make(PROGRAM, code, !is(context, CONTEXT) ? -34 : fails() ? OUT_OF_RESOURCES : SUCCESS);
  if (!made) return NULL;
  made->data = malloc(size + 1);
  memcpy(made->data, text, size);
  made->data[size] = 0;
  made->size = size;
  return made;
}

EXPORT P clCreateProgramWithSource(P context, unsigned n, const char **texts, S sizes, int *code) {
  (void)n;
  return program(context, texts[0], sizes[0], code);
}

EXPORT P clCreateProgramWithBinary(P context, unsigned n, C devices, S sizes,
                                   const unsigned char **binaries, int *status, int *code) {
  (void)n, (void)devices;
  if (status) *status = SUCCESS;
  return program(context, (const char *)binaries[0], sizes[0], code);
}

EXPORT int clBuildProgram(P p, unsigned n, C devices, const char *options, P notify, P user) {
  (void)n, (void)devices, (void)options, (void)notify, (void)user;
  if (!is(p, PROGRAM)) return misuse(-44, "no program");
  if (fails() || strstr(((Object *)p)->data, "#error")) return BUILD_FAILURE;
  ((Object *)p)->built = 1;
  return SUCCESS;
}

EXPORT int clGetProgramBuildInfo(P p, P d, unsigned key, size_t room, void *into, size_t *size) {
  (void)d, (void)key;
  if (!is(p, PROGRAM)) return misuse(-44, "no program");
  TEXT("error: this one does not build");
}

EXPORT int clGetProgramInfo(P p, unsigned key, size_t room, void *into, size_t *size) {
  Object *made = p;
  if (!is(made, PROGRAM) || !made->built) return misuse(INVALID_PROGRAM_EXECUTABLE, "not built");
  if (fails()) return OUT_OF_RESOURCES;
  if (key == 0x1165) ANSWER(size_t, made->size); /* BINARY_SIZES */
  if (key != 0x1166) return INVALID_VALUE;       /* BINARIES */
  memcpy(*(char **)into, made->data, made->size);
  return SUCCESS;
}

/* How many parameters `kernel void name(…)` has in the text; -1 where there is none. */
static int parameters(const char *text, const char *name) {
  const size_t length = strlen(name);
  for (const char *at = text; (at = strstr(at, name)); at += length) {
    const char *behind = at + length;
    const int word = (at > text && (isalnum((unsigned char)at[-1]) || at[-1] == '_'));
    while (isspace((unsigned char)*behind)) ++behind;
    if (word || *behind != '(') continue;
    int count = 0, deep = 1, some = 0;
    for (++behind; *behind && deep; ++behind) {
      deep += (*behind == '(') - (*behind == ')');
      some |= deep && !isspace((unsigned char)*behind);
      count += deep == 1 && *behind == ',';
    }
    return count + some;
  }
  return -1;
}

EXPORT P clCreateKernel(P p, const char *name, int *code) {
  const Object *text = p;
  const int good = is(text, PROGRAM) && text->built, args = good ? parameters(text->data, name) : 0;
  Object *made = make(KERNEL, code, !good      ? misuse(INVALID_PROGRAM_EXECUTABLE, "not built")
                                    : args < 0 ? INVALID_KERNEL_NAME
                                    : fails()  ? OUT_OF_RESOURCES
                                               : SUCCESS);
  if (made) made->args = args;
  return made;
}

EXPORT int clGetKernelInfo(P k, unsigned key, size_t room, void *into, size_t *size) {
  if (!is(k, KERNEL) || key != 0x1191) return misuse(-48, "no kernel");
  if (fails()) return OUT_OF_RESOURCES;
  ANSWER(uint32_t, (uint32_t)((Object *)k)->args);
}

EXPORT int clGetKernelWorkGroupInfo(P k, P d, unsigned key, size_t room, void *into, size_t *size) {
  (void)d;
  if (!is(k, KERNEL) || key < 0x11B0 || key > 0x11B4) return misuse(-48, "no kernel");
  if (fails()) return OUT_OF_RESOURCES;
  if (key != 0x11B0) ANSWER(uint64_t, 0); /* LOCAL_MEM_SIZE, PRIVATE_MEM_SIZE */
  ANSWER(size_t, 4096);
}

EXPORT int clGetKernelSubGroupInfo(P k, P d, unsigned key, size_t given, C local, size_t room,
                                   void *into, size_t *size) {
  (void)d;
  if (!is(k, KERNEL) || key != 0x2033) return misuse(-48, "no kernel");
  if (!local || !given || given % sizeof(size_t)) return misuse(-30, "no local size");
  if (fails()) return OUT_OF_RESOURCES;
  ANSWER(size_t, 16);
}

EXPORT int clSetKernelArg(P k, unsigned index, size_t size, const void *value) {
  Object *kernel = k;
  if (!is(kernel, KERNEL)) return misuse(-48, "no kernel");
  if (index >= (unsigned)kernel->args || index >= MOST_ARGS)
    return misuse(INVALID_ARG_INDEX, "argument %u of %d", index, kernel->args);
  if (size == sizeof(P) && !is(*(P *)value, MEMORY)) return misuse(INVALID_ARG_VALUE, "no buffer");
  if (fails()) return OUT_OF_RESOURCES;
  kernel->set[index] = 1;
  return SUCCESS;
}

static int ready(const Object *kernel, unsigned dims, S global, S local) {
  if (!is(kernel, KERNEL)) return misuse(-48, "no kernel");
  for (int i = 0; i < kernel->args && i < MOST_ARGS; ++i)
    if (!kernel->set[i]) return misuse(INVALID_KERNEL_ARGS, "argument %d is not set", i);
  if (dims < 1 || dims > 3) return misuse(-53, "%u dimensions", dims);
  for (unsigned i = 0; i < dims; ++i) {
    if (local[i] == 0) return misuse(INVALID_WORK_GROUP_SIZE, "an empty work-group");
    if (global[i] == 0) return misuse(-63, "nothing to do");
    if (global[i] % local[i])
      return misuse(INVALID_WORK_GROUP_SIZE, "%zu items in groups of %zu", global[i], local[i]);
  }
  return SUCCESS;
}

EXPORT int clEnqueueNDRangeKernel(P q, P kernel, unsigned dims, S offset, S global, S local,
                                  unsigned n, C waits, P *event) {
  (void)offset, (void)n, (void)waits;
  return done(event, is(q, QUEUE) ? ready(kernel, dims, global, local) : -36);
}

EXPORT int clFlush(P q) { return is(q, QUEUE) ? fails() ? OUT_OF_RESOURCES : SUCCESS : -36; }
EXPORT int clFinish(P q) { return is(q, QUEUE) ? fails() ? OUT_OF_RESOURCES : SUCCESS : -36; }

EXPORT int clEnqueueMarkerWithWaitList(P q, unsigned n, C waits, P *event) {
  (void)n, (void)waits;
  return done(event, is(q, QUEUE) ? SUCCESS : -36);
}

EXPORT int clWaitForEvents(unsigned n, C list) {
  for (unsigned i = 0; i < n; ++i)
    if (!is(((P *)list)[i], EVENT)) return misuse(-58, "no event");
  return fails() ? OUT_OF_RESOURCES : SUCCESS;
}

EXPORT int clGetEventProfilingInfo(P e, unsigned key, size_t room, void *into, size_t *size) {
  (void)key;
  if (!is(e, EVENT)) return misuse(-58, "no event");
  ANSWER(uint64_t, 1000);
}

/* --- cl_khr_command_buffer ------------------------------------------------------------------- */

static P create_recording(unsigned n, const P *queues, C props, int *code) {
  (void)props;
  return make(RECORDING, code, !n || !is(queues[0], QUEUE) ? -36 : fails() ? OUT_OF_RESOURCES : SUCCESS);
}

static int seal(P recording) {
  if (!is(recording, RECORDING) || ((Object *)recording)->sealed) return misuse(-1138, "sealed");
  ((Object *)recording)->sealed = 1;
  return fails() ? OUT_OF_RESOURCES : SUCCESS;
}

static int record(P recording, P q, C props, P kernel, unsigned dims, S offset, S global, S local,
                  unsigned n, C waits, C point, C handle) {
  (void)q, (void)props, (void)offset, (void)n, (void)waits, (void)point, (void)handle;
  if (!is(recording, RECORDING) || ((Object *)recording)->sealed) return misuse(-1138, "sealed");
  return done(NULL, ready(kernel, dims, global, local));
}

static int replay(unsigned nq, P *queues, P recording, unsigned n, C waits, P *event) {
  (void)nq, (void)queues, (void)n, (void)waits;
  if (!is(recording, RECORDING) || !((Object *)recording)->sealed) return misuse(-1138, "not sealed");
  return done(event, SUCCESS);
}

EXPORT P clGetExtensionFunctionAddressForPlatform(P p, const char *name) {
  (void)p;
  if (!strcmp(name, "clCreateCommandBufferKHR")) return (P)create_recording;
  if (!strcmp(name, "clFinalizeCommandBufferKHR")) return (P)seal;
  if (!strcmp(name, "clReleaseCommandBufferKHR")) return (P)release_recording;
  if (!strcmp(name, "clCommandNDRangeKernelKHR")) return (P)record;
  if (!strcmp(name, "clEnqueueCommandBufferKHR")) return (P)replay;
  return NULL;
}
