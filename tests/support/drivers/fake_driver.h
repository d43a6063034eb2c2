/* What the files of fake_driver.c share. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef void *P;
typedef const void *C;
typedef const size_t *S;

extern void *library; /* the real one */

#define REAL(name) ((__typeof__(&name))dlsym(library, #name))

const char *setting(const char *name); /* "" where there is none */
int is_in(P *list, int count, P what);

/* fake_log.c */
void tell(const char *format, ...);

/* fake_deaths.c */
int is_marked_kernel(P kernel);
int dies_at_launch(P kernel); /* or the code that is answered in place of that; 0: it goes on */
P fake_record(P real);        /* what takes the place of a function that makes recordings, if any */

/* Functions that it has itself. */
int clGetPlatformIDs(unsigned n, P list, unsigned *count);
int clGetDeviceInfo(P device, unsigned key, size_t size, P value, size_t *needed);
P clCreateProgramWithSource(P context, unsigned n, const char **texts, S sizes, int *code);
P clCreateProgramWithBinary(P context, unsigned n, C devices, S sizes,
                            const unsigned char **data, int *status, int *code);
int clBuildProgram(P program, unsigned n, C devices, const char *options, P call, P data);
P clCreateKernel(P program, const char *name, int *code);
int clCreateKernelsInProgram(P program, unsigned n, P list, unsigned *count);
int clSetKernelArg(P kernel, unsigned index, size_t size, C value);
int clEnqueueNDRangeKernel(P q, P k, unsigned d, S o, S g, S l, unsigned n, C w, P e);
int clEnqueueMarkerWithWaitList(P q, unsigned n, C waits, P *event);
int clWaitForEvents(unsigned n, const P *events);
int clEnqueueReadBuffer(P q, P buffer, unsigned blocking, size_t at, size_t size, P into,
                        unsigned n, C waits, P event);
int clEnqueueWriteBuffer(P q, P buffer, unsigned blocking, size_t at, size_t size, C from,
                         unsigned n, C waits, P event);
P clEnqueueMapBuffer(P q, P buffer, unsigned blocking, uint64_t flags, size_t at, size_t size,
                     unsigned n, C waits, P event, int *code);
P clCreateContext(const intptr_t *props, unsigned n, C devices, P call, P data, int *code);
P clCreateCommandQueue(P context, P device, uint64_t flags, int *code);
P clCreateCommandQueueWithProperties(P context, P device, const uint64_t *props, int *code);
P clCreateImage(P context, uint64_t flags, C format, C desc, P host, int *code);
int clGetKernelSubGroupInfo(P kernel, P device, unsigned key, size_t size, C local, size_t room,
                            P value, size_t *needed);
int clGetKernelSubGroupInfoKHR(P kernel, P device, unsigned key, size_t size, C local,
                               size_t room, P value, size_t *needed);
void *clGetExtensionFunctionAddressForPlatform(P platform, const char *name);
int clGetKernelWorkGroupInfo(P kernel, P device, unsigned key, size_t size, P value,
                             size_t *needed);
int clFinish(P queue);
int clFlush(P queue);
