/* PocketCL in an app: runs a plan, the folder that `pocketcl compile` writes, on an OpenCL device.
 *
 * Ids in, ids out. Tokenizer and chat template are the app's: the plan's folder holds the
 * tokenizer.json and the settings that came with the model, for a library that reads them.
 *
 * A text has positions. To feed n ids at `past` fills the positions past to past + n - 1, and what
 * was behind them is forgotten; `past` is at most what pocketcl_position says, so a text is edited
 * by feeding it again from where it changed. The id that a call answers belongs to the position
 * behind those that it fed, and is fed by the next call.
 *
 * Threads: one handle serves one thread at a time, any thread; a second call meanwhile (as from a
 * callback) does nothing and answers POCKETCL_BUSY. Only pocketcl_cancel may be called at any time
 * until pocketcl_close begins. Handles do not know of each other and may run at the same time; all
 * handles of a process share one OpenCL library. Calls block: keep them off an app's main thread.
 * No call throws, changes signals or the locale, starts a process or ends it. Notes, as of a
 * kernel that does not build and is replaced, go to stderr.
 *
 * Strings are UTF-8 and end with a zero. What a call gives back belongs to the handle and holds
 * until the next call on it. */
#ifndef POCKETCL_H
#define POCKETCL_H

#include <stddef.h>
#include <stdint.h>

#define POCKETCL_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pocketcl pocketcl; /* a plan that is loaded, and one text that it works on */

typedef enum pocketcl_status {
  POCKETCL_OK = 0,
  POCKETCL_ERROR = 1,     /* it can't be done, pocketcl_what says why; the handle can be used on */
  POCKETCL_CANCELLED = 2, /* pocketcl_cancel ended a prefill or score between two chunks */
  POCKETCL_BUSY = 3,      /* another call is running on this handle, this one did nothing */
  POCKETCL_LOST = 4       /* not opened, or the device failed: only the error and close are left */
} pocketcl_status;

/* "0.1.0" */
POCKETCL_API const char *pocketcl_version(void);

/* --- opening ------------------------------------------------------------------------------------ */

/* Zeros, size and plan are enough: pocketcl_options o = {0}; o.size = sizeof o; o.plan = folder; */
typedef struct pocketcl_options {
  size_t size;             /* sizeof(pocketcl_options), by which a library knows an older header */
  const char *plan;        /* the plan's folder */
  const char *cache;       /* a folder for compiled kernels, in which one is made that only the app can
                              write to; NULL: none are kept, and every open compiles all of them,
                              which takes seconds */
  const char *library;     /* the OpenCL library; NULL: the one that is found first */
  const char *platform;    /* part of an OpenCL platform's or device's name; NULL: the best device */
  const char *phases;      /* "prefill,decode" and what else is used: "score"; NULL: these two */
  const char *recorded;    /* "auto" (NULL), "on", "off": steps of decode recorded and replayed */
  const char *cooperative; /* the same: each step of decode in one launch, on CPUs */
  const char *warm;        /* of plans with weights in flash: a folder, which may be that of `cache`, in
                              which is kept what of them lies in memory at the end; the next open reads
                              that first. NULL: nothing is kept, and every start is cold */
} pocketcl_options;

/* Loads and checks the plan, which must be of one text, its weights and its kernels. *handle is set
 * whatever happens (but for want of memory), so that it can tell the error, and must be closed. */
POCKETCL_API pocketcl_status pocketcl_open(const pocketcl_options *options, pocketcl **handle);

/* Keeps for the next open what lies in memory now: for apps that are ended without a close, as Android
 * does in the background. Nothing happens without options.warm, where nothing was run, and where the
 * next open reads the same anyway. An error, as of a full disk, leaves what was kept before. */
POCKETCL_API pocketcl_status pocketcl_keep_warm(pocketcl *handle);

/* Does that too, as far as it can, waits for the device and gives everything back. NULL: nothing
 * happens. */
POCKETCL_API void pocketcl_close(pocketcl *handle);

/* --- errors: of the last call on this handle that failed ---------------------------------------- */

POCKETCL_API const char *pocketcl_what(const pocketcl *handle);    /* what can't be done */
POCKETCL_API const char *pocketcl_because(const pocketcl *handle); /* the cause */
POCKETCL_API const char *pocketcl_hint(const pocketcl *handle);    /* what to try */

/* --- what was opened ---------------------------------------------------------------------------- */

POCKETCL_API int32_t pocketcl_vocab_size(const pocketcl *handle);  /* ids are 0 to this less 1 */
POCKETCL_API int32_t pocketcl_max_context(const pocketcl *handle); /* positions of a text */
/* The model's own ids that end a text; how many there are. */
POCKETCL_API size_t pocketcl_eos(const pocketcl *handle, const int32_t **ids);
/* As JSON: device, driver, load_s, programs_built, programs_cached, weight_bytes, state_bytes, …;
 * NULL on failure. */
POCKETCL_API const char *pocketcl_info(pocketcl *handle);
/* As JSON: figures of the last prefill and generate, prefill_s, decode_s, decode_tokens,
 * host_us_per_token, dispatches_per_token, and peak_rss_bytes of the process; NULL on failure. */
POCKETCL_API const char *pocketcl_stats(pocketcl *handle);

/* --- running ------------------------------------------------------------------------------------ */

/* How ids are chosen. Any field that is 0 is off; all zeros: always the likeliest id. */
typedef struct pocketcl_sampling {
  size_t size;              /* sizeof(pocketcl_sampling) */
  uint64_t seed;            /* the same seed, text and settings give the same ids */
  float temperature;        /* 0.001 to 100: logits are divided by it */
  float top_p;              /* 0 to 1: the fewest ids that together have this probability */
  float min_p;              /* 0 to 1: ids with this share of the likeliest one's probability */
  float repetition_penalty; /* 0.01 to 100, 1 is off too: divides positive logits of the text's ids */
  float presence_penalty;   /* -100 to 100: taken off the logit of each id of the text */
  float frequency_penalty;  /* the same, once per occurrence */
  int32_t top_k;            /* up to 256: only the likeliest ids */
  int32_t window;           /* penalties look at this many of the last ids; 0: at all */
  int32_t logprobs;         /* not 0: keep log-probabilities, for pocketcl_logprobs */
} pocketcl_sampling;

/* From the next id on. Greedy before, and after NULL. */
POCKETCL_API pocketcl_status pocketcl_sample(pocketcl *handle, const pocketcl_sampling *sampling);

/* How many tokens the text will have, where that is known; 0: not known, as at the start. Some models
 * (LongRoPE: Phi-3.5, Phi-4-mini) have other rotary tables for texts beyond some length. The length
 * is this, or what has been fed, the end of the call's own ids included, where that is more; keys
 * that are in the cache stay as they were made. Said before the first call of a text that will be
 * long, all of it goes by the tables for long texts. */
POCKETCL_API pocketcl_status pocketcl_expect(pocketcl *handle, int32_t tokens);

/* Feeds `count` ids at `past`, in chunks; *next (may be NULL) is the id behind them. */
POCKETCL_API pocketcl_status pocketcl_prefill(pocketcl *handle, const int32_t *ids, size_t count,
                                              int32_t past, int32_t *next);

/* The same for one id, by the kernels of decode. */
POCKETCL_API pocketcl_status pocketcl_decode(pocketcl *handle, int32_t id, int32_t past,
                                             int32_t *next);

typedef enum pocketcl_stop {
  POCKETCL_STOP_EOS = 0,     /* a stop id came, and was told */
  POCKETCL_STOP_LENGTH = 1,  /* as many ids came as were wanted */
  POCKETCL_STOP_CONTEXT = 2, /* the context is full */
  POCKETCL_STOP_CANCEL = 3   /* the callback or pocketcl_cancel ended it */
} pocketcl_stop;

/* Gets every new id as it comes, in the thread that called; not 0 ends it behind this id. */
typedef int (*pocketcl_on_id)(void *user, int32_t id);

/* Feeds `id` at `past`, tells the next id, feeds that, and so on, up to `count` new ids: faster
 * than pocketcl_decode in a loop, because the device works on the next id meanwhile. Of n ids told
 * the last one is not fed: it comes first in the next call, at past + n. `stops` ids of `stop` end
 * it, too; stop NULL: the model's own do. `why` may be NULL. */
POCKETCL_API pocketcl_status pocketcl_generate(pocketcl *handle, int32_t id, int32_t past,
                                               int32_t count, const int32_t *stop, size_t stops,
                                               pocketcl_on_id on_id, void *user,
                                               pocketcl_stop *why);

/* Ends the prefill, score or generate that runs, after the chunk or id that is under way; where
 * none runs nothing happens. From any thread, and from a signal handler. */
POCKETCL_API void pocketcl_cancel(pocketcl *handle);

/* --- results and states ------------------------------------------------------------------------- */

/* How far the text goes: the largest `past` of the next call. 0 at the start, -1 when busy. */
POCKETCL_API int32_t pocketcl_position(const pocketcl *handle);
/* Copies the first `count` ids of the text, at most pocketcl_position of them; how many. */
POCKETCL_API size_t pocketcl_text(const pocketcl *handle, int32_t *ids, size_t count);

/* The logits [vocab_size] of the position that ran last; `count` must be vocab_size. */
POCKETCL_API pocketcl_status pocketcl_logits(pocketcl *handle, float *logits, size_t count);
/* Feeds ids at `past`, as prefill does, and tells the logits [count, vocab_size] of all of them. */
POCKETCL_API pocketcl_status pocketcl_score(pocketcl *handle, const int32_t *ids, size_t count,
                                            int32_t past, float *logits);
/* Of the ids that were chosen for `count` positions from `start` on, as the model gave them. */
POCKETCL_API pocketcl_status pocketcl_logprobs(pocketcl *handle, int32_t start, size_t count,
                                               float *logprobs);

/* The first `past` positions of text and states, to go on from later: with the same plan, on any
 * device. The file is whole or not there. A refused file changes nothing. */
POCKETCL_API pocketcl_status pocketcl_save(pocketcl *handle, const char *path, int32_t past);
POCKETCL_API pocketcl_status pocketcl_load(pocketcl *handle, const char *path, int32_t *past);

#ifdef __cplusplus
}
#endif

#endif
