/* Takes the place of pread: what $PREAD_FAULT says happens to each read of a file by $PREAD_NTH (from 1),
 * and $PREAD_TIMES after it. short: half of it, in bytes; eio, eagain, eintr: that error; end: 0; hold: it
 * waits until a read begins at byte $PREAD_UNTIL or behind, and for five seconds at most, then it is eio. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
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

static ssize_t faulty(const char *name, int file, void *into, size_t bytes, off_t at) {
  static atomic_long calls;
  const Pread real = (Pread)dlsym(RTLD_NEXT, name);
  const char *fault = getenv("PREAD_FAULT");
  const long call = atomic_fetch_add(&calls, 1) + 1, nth = number("PREAD_NTH");
  if (call >= nth && at > furthest) furthest = at;
  if (!fault || call < nth || call >= nth + number("PREAD_TIMES"))
    return real(file, into, bytes, at);
  if (strcmp(fault, "hold") == 0 && comes()) return real(file, into, bytes, at);
  if (strcmp(fault, "short") == 0) return real(file, into, bytes / 2, at);
  if (strcmp(fault, "end") == 0) return 0;
  errno = strcmp(fault, "eagain") == 0 ? EAGAIN : strcmp(fault, "eintr") == 0 ? EINTR : EIO;
  return -1;
}

ssize_t pread(int file, void *into, size_t bytes, off_t at) {
  return faulty("pread", file, into, bytes, at);
}

ssize_t pread64(int file, void *into, size_t bytes, off_t at) {
  return faulty("pread64", file, into, bytes, at);
}
