/* Bionic's names where glibc has another name or another layout; the rest are jumps that bionic.py
 * writes. Every name taken from glibc stands behind `glibc_`, so that the two never mix. */
#define FROM_GLIBC(name, version) __asm__(".symver glibc_" #name "," #name "@GLIBC_" version)

FROM_GLIBC(__errno_location, "2.17");
FROM_GLIBC(__libc_start_main, "2.34");
FROM_GLIBC(fopen, "2.17");
FROM_GLIBC(fgets, "2.17");
FROM_GLIBC(fclose, "2.17");
FROM_GLIBC(stdin, "2.17");
FROM_GLIBC(stdout, "2.17");
FROM_GLIBC(stderr, "2.17");
FROM_GLIBC(environ, "2.17");

typedef int Main(int, char **, char **);
extern int *glibc___errno_location(void);
extern int glibc___libc_start_main(Main *, int, char **, void *, void *, void *, void *);
extern void *glibc_fopen(const char *, const char *);
extern char *glibc_fgets(char *, int, void *);
extern int glibc_fclose(void *);
extern void *glibc_stdin, *glibc_stdout, *glibc_stderr;
extern char **glibc_environ;

int *__errno(void) { return glibc___errno_location(); }

/* Called by a program's _start with the stack that the kernel made: argc, argv, 0, environment. */
void __libc_init(long *stack, void *on_exit, Main *program, void *structors) {
  (void)on_exit, (void)structors; /* the dynamic linker runs the constructors */
  glibc___libc_start_main(program, (int)stack[0], (char **)(stack + 1), 0, 0, 0, stack);
}

/* name=value lines of the file that getprop reads too. Returns the value's length. */
int __system_property_get(const char *name, char *value) {
  char line[512];
  int length = 0;
  void *file = glibc_fopen("/product/etc/build.prop", "r");
  value[0] = 0;
  while (file && !length && glibc_fgets(line, sizeof line, file)) {
    int i = 0;
    while (name[i] && line[i] == name[i]) i++;
    if (name[i] || line[i++] != '=') continue;
    while (line[i] && line[i] != '\n' && length < 91) value[length++] = line[i++];
    value[length] = 0;
  }
  if (file) glibc_fclose(file);
  return length;
}

/* Bionic's mutex has 40 bytes, glibc's 48, of which it uses 40; all zero is a plain one in both. */
int pthread_mutex_init(char *mutex, const void *attributes) {
  (void)attributes;
  for (int i = 0; i < 40; i++) mutex[i] = 0;
  return 0;
}

/* A program may hold copies of its own: they are set through its names, not the library's. */
void *stdin, *stdout, *stderr;
char **environ;
__attribute__((constructor)) static void copy_data(void) {
  stdin = glibc_stdin, stdout = glibc_stdout, stderr = glibc_stderr;
  environ = glibc_environ;
}
