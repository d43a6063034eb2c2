/* Continues a text of ids: generate PLAN COUNT ID... prints the new ids, one a line.
 * cc -std=c11 generate.c -I../include -L. -lpocketcl -o generate */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "pocketcl.h"

static pocketcl *model;

static void interrupt(int number) {
  (void)number;
  pocketcl_cancel(model);
}

static int print_id(void *user, int32_t id) {
  ++*(int *)user;
  return printf("%d\n", (int)id) < 0 || fflush(stdout) != 0; /* not 0 ends it: nobody reads */
}

static int fail(void) {
  fprintf(stderr, "error: %s\nbecause: %s\nhint: %s\n", pocketcl_what(model),
          pocketcl_because(model), pocketcl_hint(model));
  pocketcl_close(model);
  return 1;
}

int main(int count, char **words) {
  if (count < 4) return fprintf(stderr, "usage: generate PLAN COUNT ID...\n"), 2;
  const int given = count - 3;
  int32_t *ids = malloc(sizeof *ids * (size_t)given);
  if (!ids) return 1;
  for (int i = 0; i < given; ++i) ids[i] = (int32_t)strtol(words[3 + i], NULL, 10);

  pocketcl_options options = {0};
  options.size = sizeof options;
  options.plan = words[1];
  options.cache = options.warm = getenv("POCKETCL_CACHE");
  if (pocketcl_open(&options, &model) != POCKETCL_OK) return free(ids), fail();
  signal(SIGINT, interrupt);

  int32_t next = 0;
  int told = 1;
  const pocketcl_status fed = pocketcl_prefill(model, ids, (size_t)given, 0, &next);
  free(ids);
  if (fed != POCKETCL_OK) return fail();
  printf("%d\n", (int)next);
  pocketcl_stop why = POCKETCL_STOP_LENGTH;
  const int32_t wanted = (int32_t)strtol(words[2], NULL, 10) - 1;
  if (pocketcl_generate(model, next, given, wanted, NULL, 0, print_id, &told, &why) != POCKETCL_OK)
    return fail();
  const char *const reasons[] = {"a stop id", "the length", "a full context", "a cancel"};
  const char *stats = pocketcl_stats(model);
  fprintf(stderr, "%d ids, ended by %s\n%s\n", told, reasons[why], stats ? stats : "");
  pocketcl_close(model);
  return 0;
}
