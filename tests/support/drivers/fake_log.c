/* Of fake_driver.c: what it writes down of what it is asked. */
#include "fake_driver.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void tell(const char *format, ...) {
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

int clEnqueueNDRangeKernel(P q, P k, unsigned d, S o, S g, S l, unsigned n, C w, P e) {
  const int code = dies_at_launch(k);
  if (code) return code;
  if (*setting("FAKE_LAUNCHES")) tell("launched %p %zu+%zu\n", k, o ? o[0] : 0, g[0]);
  return REAL(clEnqueueNDRangeKernel)(q, k, d, o, g, l, n, w, e);
}

static P markers[4096];
static int marks;

static void tell_of_marker(const char *what, P event) {
  if (*setting("FAKE_MARKERS")) tell("%s %p\n", what, event);
  else tell("%s\n", what);
}

int clEnqueueMarkerWithWaitList(P q, unsigned n, C waits, P *event) {
  const int code = REAL(clEnqueueMarkerWithWaitList)(q, n, waits, event);
  markers[marks++ % 4096] = *event;
  if (*setting("FAKE_LAUNCHES")) tell_of_marker("marked", *event);
  return code;
}

int clWaitForEvents(unsigned n, const P *events) {
  if (*setting("FAKE_LAUNCHES") && is_in(markers, marks < 4096 ? marks : 4096, events[0]))
    tell_of_marker("waited", events[0]);
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

P clEnqueueMapBuffer(P q, P buffer, unsigned blocking, uint64_t flags, size_t at, size_t size,
                     unsigned n, C waits, P event, int *code) {
  if (*setting("FAKE_WRITES")) tell("map %zu\n", size);
  return REAL(clEnqueueMapBuffer)(q, buffer, blocking, flags, at, size, n, waits, event, code);
}

/* Hints that the real driver does not know are told and left out. */
P clCreateContext(const intptr_t *props, unsigned n, C devices, P call, P data, int *code) {
  for (const intptr_t *at = props + 2; *at; at += 2) tell("context %lx=%lx\n", at[0], at[1]);
  const intptr_t known[] = {props[0], props[1], 0};
  return REAL(clCreateContext)(known, n, devices, call, data, code);
}

static int gives_no_queue(void) {
  static int made;
  return *setting("FAKE_QUEUES") && ++made > atoi(setting("FAKE_QUEUES"));
}

P clCreateCommandQueue(P context, P device, uint64_t flags, int *code) {
  if (gives_no_queue()) return *code = -6, NULL; /* OUT_OF_HOST_MEMORY */
  return REAL(clCreateCommandQueue)(context, device, flags, code);
}

P clCreateCommandQueueWithProperties(P context, P device, const uint64_t *props, int *code) {
  if (gives_no_queue()) return *code = -6, NULL;
  for (const uint64_t *at = props; *at; at += 2) tell("queue %lx=%lx\n", at[0], at[1]);
  if (strstr(setting("FAKE_EXTENSIONS"), "refused") && props[2]) return *code = -30, NULL;
  const uint64_t known[] = {props[0], props[1], 0};
  return REAL(clCreateCommandQueueWithProperties)(context, device, known, code);
}

int clFinish(P queue) {
  tell("finish\n");
  return REAL(clFinish)(queue);
}

int clFlush(P queue) {
  tell("flush\n");
  return REAL(clFlush)(queue);
}
