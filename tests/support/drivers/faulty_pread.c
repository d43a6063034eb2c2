/* Takes the place of pread: what $PREAD_FAULT says happens to each read of a file by $PREAD_NTH (from 1),
 * and $PREAD_TIMES after it, of files with $PREAD_FILE in their names, once there is a file $PREAD_ARMED. short: half of it, in bytes; eio,
 * eagain, eintr: that error; end: 0; hold: it waits until a read begins at byte $PREAD_UNTIL or behind, and
 * for five seconds at most, then it is eio. With $PREAD_AT only reads of that byte count. And of open: $OPEN_FAULT=through opens files past the page
 * cache, and reads them through it. $PREAD_LOG gets a line for each read of such a file, when it begins. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*Pread)(int, void *, size_t, off_t);

static long number(const char *name) {
  const char *value = getenv(name);
  return value ? atol(value) : 1;
}

static atomic_long furthest;

static int comes(void) {
  for (int tries = 0; tries < 5000; ++tries) {
    if (furthest >= number("PREAD_UNTIL")) return 1;
    usleep(1000);
  }
  return 0;
}

static int is_named(int file) {
  char path[64], name[4096];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  const ssize_t size = readlink(path, name, sizeof name - 1);
  name[size > 0 ? size : 0] = 0;
  const char *wanted = getenv("PREAD_FILE");
  return !wanted || strstr(name, wanted);
}

static void tell(void) {
  const char *log = getenv("PREAD_LOG");
  const int file = log ? open(log, O_WRONLY | O_APPEND | O_CREAT, 0644) : -1;
  if (file < 0) return;
  if (write(file, "fetched\n", 8) != 8) abort();
  close(file);
}

static ssize_t faulty(const char *name, int file, void *into, size_t bytes, off_t at) {
  static atomic_long calls;
  const Pread real = (Pread)dlsym(RTLD_NEXT, name);
  const char *fault = getenv("PREAD_FAULT");
  const char *armed = getenv("PREAD_ARMED");
  if (is_named(file)) tell();
  if (!fault || !is_named(file) || (armed && access(armed, F_OK))) return real(file, into, bytes, at);
  const char *holds = getenv("PREAD_AT");
  if (holds && (atol(holds) < at || atol(holds) >= at + (off_t)bytes)) return real(file, into, bytes, at);
  const long call = atomic_fetch_add(&calls, 1) + 1, nth = number("PREAD_NTH");
  if (call >= nth && at > furthest) furthest = at;
  if (call < nth || call >= nth + number("PREAD_TIMES"))
    return real(file, into, bytes, at);
  if (strcmp(fault, "hold") == 0 && comes()) return real(file, into, bytes, at);
  if (strcmp(fault, "short") == 0) return real(file, into, bytes / 2, at);
  if (strcmp(fault, "end") == 0) return 0;
  errno = strcmp(fault, "eagain") == 0 ? EAGAIN : strcmp(fault, "eintr") == 0 ? EINTR : EIO;
  return -1;
}

static int opened(const char *name, const char *path, int flags, va_list more) {
  const int mode = flags & O_CREAT ? va_arg(more, int) : 0;
  int (*const real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
  return real(path, getenv("OPEN_FAULT") ? flags & ~O_DIRECT : flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int file = opened("open", path, flags, more);
  va_end(more);
  return file;
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int file = opened("open64", path, flags, more);
  va_end(more);
  return file;
}

ssize_t pread(int file, void *into, size_t bytes, off_t at) {
  return faulty("pread", file, into, bytes, at);
}

ssize_t pread64(int file, void *into, size_t bytes, off_t at) {
  return faulty("pread64", file, into, bytes, at);
}
