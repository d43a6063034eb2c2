/* Of fake_driver.c: programs and kernels that are marked, and what the driver does of them. */
#include "fake_driver.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static P marked[1024], marked_kernels[1024];
static int programs, kernels;

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

static int at(const char *where) { return !strcmp(setting("FAKE_AT"), where); }

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

P clCreateImage(P context, uint64_t flags, C format, C desc, P host, int *code) {
  if ((*code = refusal("image"))) return NULL;
  return REAL(clCreateImage)(context, flags, format, desc, host, code);
}

int clSetKernelArg(P kernel, unsigned index, size_t size, C value) {
  if (*setting("FAKE_ARGUMENT") && !unlink(setting("FAKE_ARGUMENT"))) return -5; /* OUT_OF_RESOURCES */
  return REAL(clSetKernelArg)(kernel, index, size, value);
}

int is_marked_kernel(P kernel) { return is_in(marked_kernels, kernels, kernel); }

int dies_at_launch(P kernel) {
  if (!is_marked_kernel(kernel) || !at("launch")) return 0;
  tell("launch\n");
  die();
  return refusal("launch");
}

static P (*real_record)(unsigned, C, C, int *);

static P record(unsigned n, C queues, C props, int *code) {
  die();
  return real_record(n, queues, props, code);
}

P fake_record(P real) {
  if (!at("record")) return real;
  real_record = (P(*)(unsigned, C, C, int *))real;
  return (P)record;
}
