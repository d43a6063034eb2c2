// What musl's headers and zig's C++ libraries name differently from bionic, or would take from
// thread-local storage, which programs for Android 8 can't have.
#include <pthread.h>

#include <cstdlib>

extern "C" {

int *__errno();

int *__errno_location() { return __errno(); }

void *aligned_alloc(size_t alignment, size_t size) {  // since API 28
  void *memory = nullptr;
  if (alignment < sizeof memory) alignment = sizeof memory;
  return posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}

// --- the exceptions of a thread (Itanium C++ ABI, 2.2.2) -----------------------------------------

static pthread_key_t key;

static void make_key() {
  if (pthread_key_create(&key, free) != 0) abort();
}

void *__cxa_get_globals() {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  struct Globals {
    void *caught;
    unsigned uncaught;
  };
  pthread_once(&once, make_key);
  void *globals = pthread_getspecific(key);
  if (globals) return globals;
  globals = calloc(1, sizeof(Globals));
  if (!globals || pthread_setspecific(key, globals) != 0) abort();
  return globals;
}

void *__cxa_get_globals_fast() { return __cxa_get_globals(); }

// For std::terminate, which prints a name as it is mangled when this fails; the real one has 80 KB.
char *__cxa_demangle(const char *, char *, size_t *, int *status) {
  if (status) *status = -1;
  return nullptr;
}

}  // extern "C"
