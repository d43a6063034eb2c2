// Opens plans on the null device (null_opencl.c) and runs a few tokens with each, one after the
// other in one process.
//
//   fuzz_plan NULL_LIBRARY FOLDER     lines `FAIL RECORDED PLAN` on stdin: a call of OpenCL that fails
//                                     (0: none), auto, on or off (then without the phase score), and
//                                     the plan; for each a line `ok`, or the first error as JSON
//
// It aborts where a plan breaks a promise: a call that OpenCL forbids, an object of OpenCL that is
// left, an error without a cause or a hint; a plan that takes longer than PATIENCE ends it, too.
// With -DLIBFUZZER it is a target for libFuzzer: NULL_LIBRARY and the folder of a good plan come by
// $FUZZ_LIBRARY and $FUZZ_PLAN, an input is a plan.json.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/failure.h"
#include "base/json.h"
#include "session/engine.h"

namespace {

using namespace pocket;

constexpr unsigned PATIENCE = 30;  // seconds

struct NullDevice {
  void (*begin)(long);
  long (*live)();
  const char *(*misuse)();
};

template <class F>
void find(void *library, const char *name, F &function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (!function) fprintf(stderr, "%s is missing\n", name), exit(2);
}

NullDevice null_device(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fprintf(stderr, "%s\n", dlerror()), exit(2);
  NullDevice device{};
  find(library, "null_cl_begin", device.begin);
  find(library, "null_cl_live", device.live);
  find(library, "null_cl_misuse", device.misuse);
  return device;
}

[[noreturn]] void broken(const std::string &promise) {
  fprintf(stderr, "broken promise: %s\n", promise.c_str());
  abort();
}

struct Case {
  EngineOptions options;
  std::string folder, answer = "ok";
  bool lost = false;

  // A refusal is an answer; after it the next thing is tried, as a user would.
  template <class Work>
  void attempt(const Work &work) {
    if (lost) return;
    try {
      work();
    } catch (const Failure &failure) {
      lost = dynamic_cast<const DeviceFailure *>(&failure);
      const std::string text = Record()
                                   .add("what", failure.what())
                                   .add("because", failure.because)
                                   .add("hint", failure.hint)
                                   .text();
      if (!*failure.what() || failure.because.empty() || failure.hint.empty())
        broken("an error without a word: " + text);
      if (answer == "ok") answer = text;
    }
  }

  void run(Engine &engine) {
    Session &session = engine.session();
    const Model &model = engine.plan().model;
    const auto go_on = [] { return false; };
    const int64_t many = std::min<int64_t>(std::min<int64_t>(model.prefill_chunk, 64) + 1,
                                           model.max_context);
    const std::vector<int64_t> text(many * model.batch, 0), tokens(model.batch, 0);
    const std::string state = folder + "/state";
    attempt([&] { session.begin(tokens); });
    attempt([&] { session.expect(many); });
    attempt([&] { session.prefill(text, 0, go_on); });
    attempt([&] { session.step(tokens, many - 1); });
    attempt([&] { session.decode(0, many, 3, {}, [](int64_t) {}, go_on); });
    attempt([&] { session.decode(0, model.max_context - 1, 3, {}, [](int64_t) {}, go_on); });
    attempt([&] { session.logits(); });
    if (options.phases != EngineOptions().phases)
      attempt([&] { session.score(text, 0, [](const std::vector<float> &) {}, go_on); });
    attempt([&] { session.configure(std::vector<int64_t>(16)); });
    attempt([&] { session.logprobs(0, 2); });
    attempt([&] { session.save(state, session.history().length(), "{}"); });
    attempt([&] { session.load(state); });
    for (const Point &point : engine.plan().points) with_budget(session, point.memory);
    if (!engine.plan().tables.empty()) with_budget(session, INT64_MAX);
    attempt([&] { session.stats(); });
  }

  // Also where it doesn't run in so little.
  void with_budget(Session &session, int64_t memory) {
    attempt([&] { session.budget(memory); });
    attempt([&] { session.decode(0, 0, 3, {}, [](int64_t) {}, [] { return false; }); });
  }
};

std::string run_case(const NullDevice &device, const EngineOptions &options, long fail,
                     const std::string &folder) {
  Case one{options, folder};
  alarm(PATIENCE);
  device.begin(fail ? fail : -1);
  one.attempt([&] {
    Engine engine(options);
    one.run(engine);
  });
  if (*device.misuse()) broken(std::string("OpenCL forbids this: ") + device.misuse());
  if (device.live()) broken(std::to_string(device.live()) + " objects of OpenCL are left");
  alarm(0);
  return one.answer;
}

}  // namespace

#ifdef LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const std::string library = getenv("FUZZ_LIBRARY"), folder = getenv("FUZZ_PLAN");
  static const NullDevice device = null_device(library.c_str());
  EngineOptions options;
  options.library = library;
  options.plan = folder + "/fuzz.json";
  FILE *file = fopen(options.plan.c_str(), "wb");
  if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) exit(2);
  run_case(device, options, 0, folder);
  return 0;
}

#else

int main(int count, char **words) {
  if (count != 3) return fprintf(stderr, "usage: fuzz_plan NULL_LIBRARY FOLDER\n"), 2;
  const NullDevice device = null_device(words[1]);
  char line[4096], recorded[8];
  long fail = 0;
  int name = 0;
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "%ld %7s %n", &fail, recorded, &name) < 2) return 2;
    EngineOptions options;
    options.plan = line + name;
    options.library = words[1];
    options.recorded = recorded;
    if (options.recorded != "off") options.phases = "score";
    printf("%s\n", run_case(device, options, fail, words[2]).c_str());
    fflush(stdout);
  }
  return 0;
}

#endif
