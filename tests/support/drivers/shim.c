/* Stands between the runner and OpenCL, and under its malloc: counts what the runner does, and
 * plays drivers that lack, refuse, lose or slow down command buffers, or record by a queue as
 * Qualcomm's do. For glibc; it is given by --cl-lib and by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ALLOCATED, BUILT, ENQUEUED, REPLAYED, REFUSED_PENDING, RECORDED, COUNTERS };

static uint64_t nowhere[COUNTERS], *counters = nowhere;
static __thread int in_driver __attribute__((tls_model("initial-exec")));
static const char *fault = "";
static long fault_after = 0;

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("SHIM_COUNTERS"), *wanted = getenv("SHIM_FAULT");
  const int file = path ? open(path, O_RDWR) : -1;
  if (file >= 0) {
    void *map = mmap(NULL, sizeof nowhere, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) counters = map;
    close(file);
  }
  if (wanted) fault = wanted;
  if (getenv("SHIM_AFTER")) fault_after = atol(getenv("SHIM_AFTER"));
}

/* --- memory: what the runner's own thread asks for outside of the driver --------------------- */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

static void count_allocation(void) {
  if (!in_driver && syscall(SYS_gettid) == getpid()) ++counters[ALLOCATED];
}

void *malloc(size_t size) { return count_allocation(), __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return count_allocation(), __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { return count_allocation(), __libc_realloc(old, size); }

/* --- OpenCL ---------------------------------------------------------------------------------- */

#define REAL(type, name, parameters)                                  \
  static type(*real) parameters;                                      \
  if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);

#define WRAP_CREATOR(name, parameters, arguments) \
  void *name parameters {                         \
    REAL(void *, name, parameters)                \
    ++counters[BUILT];                            \
    ++in_driver;                                  \
    void *made = real arguments;                  \
    --in_driver;                                  \
    return made;                                  \
  }

typedef void *P;
typedef const void *C;
typedef const size_t *S;
static uint64_t unused;

#define WRAP(name, counter, parameters, arguments) \
  int name parameters {                            \
    REAL(int, name, parameters)                    \
    ++*(counter);                                  \
    ++in_driver;                                   \
    const int code = real arguments;               \
    --in_driver;                                   \
    return code;                                   \
  }

WRAP(clEnqueueReadBuffer, &unused,
     (P q, P m, unsigned b, size_t o, size_t s, P h, unsigned n, C w, P e),
     (q, m, b, o, s, h, n, w, e))
WRAP(clEnqueueWriteBuffer, &unused,
     (P q, P m, unsigned b, size_t o, size_t s, C h, unsigned n, C w, P e),
     (q, m, b, o, s, h, n, w, e))
WRAP(clFlush, &unused, (P q), (q))
WRAP(clFinish, &unused, (P q), (q))
WRAP(clWaitForEvents, &unused, (unsigned n, C e), (n, e))
WRAP(clReleaseEvent, &unused, (P e), (e))
WRAP(clSetKernelArg, &counters[BUILT], (P k, unsigned i, size_t s, C v), (k, i, s, v))
WRAP(clGetKernelInfo, &counters[BUILT], (P k, unsigned i, size_t s, P v, P r), (k, i, s, v, r))
WRAP(clGetProgramInfo, &counters[BUILT], (P k, unsigned i, size_t s, P v, P r), (k, i, s, v, r))
WRAP(clBuildProgram, &counters[BUILT], (P p, unsigned n, C d, C o, P f, P u), (p, n, d, o, f, u))
WRAP_CREATOR(clCreateKernel, (P p, C n, P c), (p, n, c))
WRAP_CREATOR(clCreateBuffer, (P x, uint64_t f, size_t s, P h, P c), (x, f, s, h, c))
WRAP_CREATOR(clCreateSubBuffer, (P m, uint64_t f, unsigned t, C r, P c), (m, f, t, r, c))

/* fault "qcom": launches are recorded by a queue of their own, QCOM_MOST of them at most. */
enum { QCOM_MOST = 3 };
static int qcom(void) { return strncmp(fault, "qcom", 4) == 0; }

typedef struct {
  struct Launch {
    P kernel;
    unsigned dims;
    size_t offset[3], global[3], local[3];
  } launches[QCOM_MOST];
  int count, open;
} Recording;
static Recording *open_recording;
static char recordable; /* only its address matters */

int clGetDeviceInfo(P device, unsigned key, size_t size, P value, size_t *needed) {
  REAL(int, clGetDeviceInfo, (P, unsigned, size_t, P, size_t *))
  const char *all = "cl_khr_fp16 cl_qcom_recordable_queues";
  ++counters[BUILT];
  if (qcom() && key == 0x41DE) return *(unsigned *)value = QCOM_MOST, 0;
  if (!qcom() || key != 0x1030) return real(device, key, size, value, needed);
  if (value) strcpy(value, all);
  if (needed) *needed = strlen(all) + 1;
  return 0;
}

P clCreateCommandQueue(P context, P device, uint64_t flags, int *code) {
  REAL(P, clCreateCommandQueue, (P, P, uint64_t, int *))
  ++counters[BUILT];
  if (flags != 1 << 30) return real(context, device, flags, code);
  if (strcmp(fault, "qcom refuse") == 0) return *code = -30, NULL;
  return *code = 0, &recordable;
}

int clReleaseCommandQueue(P queue) {
  REAL(int, clReleaseCommandQueue, (P))
  return queue == &recordable ? 0 : real(queue);
}

P clNewRecordingQCOM(P queue, int *code) {
  ++counters[RECORDED];
  if (queue != &recordable || open_recording) return *code = -36, NULL;
  open_recording = __libc_calloc(1, sizeof *open_recording);
  open_recording->open = 1;
  return *code = 0, open_recording;
}

int clEndRecordingQCOM(P recording) {
  if (recording != open_recording) return -30;
  open_recording->open = 0;
  return open_recording = NULL, 0;
}

int clReleaseRecordingQCOM(P recording) { return free(recording), 0; }

static int keep(P kernel, unsigned dims, S offset, S global, S local) {
  if (!open_recording || open_recording->count == QCOM_MOST) return -59;
  struct Launch *launch = &open_recording->launches[open_recording->count++];
  launch->kernel = kernel, launch->dims = dims;
  for (unsigned i = 0; i < dims; ++i) {
    launch->offset[i] = offset ? offset[i] : 0;
    launch->global[i] = global[i], launch->local[i] = local[i];
  }
  return 0;
}

/* fault "turn": plain dispatches are slow until `fault_after` replays, then recorded steps are. */
static int turned(void) { return (long)counters[REPLAYED] > fault_after; }

int clEnqueueNDRangeKernel(P q, P k, unsigned d, S o, S g, S l, unsigned n, C w, P e) {
  REAL(int, clEnqueueNDRangeKernel, (P, P, unsigned, S, S, S, unsigned, C, P))
  if (q == &recordable) return keep(k, d, o, g, l);
  ++counters[ENQUEUED];
  if (strcmp(fault, "turn") == 0 && !turned()) usleep(200);
  ++in_driver;
  const int code = real(q, k, d, o, g, l, n, w, e);
  --in_driver;
  return code;
}

int clEnqueueRecordingQCOM(P queue, Recording *recording, size_t args, C a, size_t offsets, C o,
                           size_t globals, C g, size_t locals, C l, unsigned n, C waits, P event) {
  (void)a, (void)o, (void)g, (void)l, (void)n, (void)waits;
  REAL(int, clEnqueueNDRangeKernel, (P, P, unsigned, S, S, S, unsigned, C, P))
  if (recording->open || !recording->count || args + offsets + globals + locals) return -30;
  ++counters[REPLAYED];
  ++in_driver;
  int code = 0;
  for (int i = 0; i < recording->count && code == 0; ++i) {
    struct Launch *at = &recording->launches[i];
    const int last = i == recording->count - 1;
    code = real(queue, at->kernel, at->dims, at->offset, at->global, at->local, 0, NULL,
                last ? event : NULL);
  }
  --in_driver;
  return code;
}

static P (*real_create)(unsigned, C, C, int *);
static int (*real_replay)(unsigned, P, P, unsigned, C, P);
static int (*real_command)(P, P, C, P, unsigned, S, S, S, unsigned, C, P, P);

static P create(unsigned n, C q, C p, int *code) {
  ++counters[RECORDED];
  if (strcmp(fault, "refuse") == 0) return *code = -6, NULL;
  return real_create(n, q, p, code);
}

static int command(P b, P q, C p, P k, unsigned d, S o, S g, S l, unsigned n, C w, P s, P h) {
  ++counters[BUILT];
  return real_command(b, q, p, k, d, o, g, l, n, w, s, h);
}

static int replay(unsigned n, P q, P b, unsigned events, C wait, P event) {
  ++counters[REPLAYED];
  if (strcmp(fault, "turn") == 0 && turned()) usleep(3000);
  ++in_driver;
  const int code = real_replay(n, q, b, events, wait, event);
  --in_driver;
  counters[REFUSED_PENDING] += code == -59;
  return code;
}

/* A recording that loses a command: as where arguments are read again at the replay. */
static int lose(P b, P q, C p, P k, unsigned d, S o, S g, S l, unsigned n, C w, P s, P h) {
  static int nth;
  return ++nth % 3 ? command(b, q, p, k, d, o, g, l, n, w, s, h) : 0;
}

void *clGetExtensionFunctionAddressForPlatform(void *platform, const char *name) {
  REAL(void *, clGetExtensionFunctionAddressForPlatform, (void *, const char *))
  if (strcmp(fault, "hide") == 0) return NULL;
  void *found = real(platform, name);
  if (strcmp(name, "clCreateCommandBufferKHR") == 0)
    return real_create = (P(*)(unsigned, C, C, int *))found, (void *)create;
  if (strcmp(name, "clEnqueueCommandBufferKHR") == 0)
    return real_replay = (int (*)(unsigned, P, P, unsigned, C, P))found, (void *)replay;
  if (strcmp(name, "clCommandNDRangeKernelKHR") != 0) return found;
  real_command = (int (*)(P, P, C, P, unsigned, S, S, S, unsigned, C, P, P))found;
  return strcmp(fault, "lose") == 0 ? (void *)lose : (void *)command;
}
