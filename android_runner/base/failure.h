// One error as the user sees it: what went wrong, because of what, and what to try.
#pragma once
#include <new>
#include <stdexcept>
#include <string>

namespace pocket {

struct Failure : std::runtime_error {
  Failure(const std::string &what, std::string because_, std::string hint_)
      : std::runtime_error(what), because(std::move(because_)), hint(std::move(hint_)) {}
  std::string because, hint;
};

// The device or its driver failed: nothing after it can be trusted, so the process ends.
struct DeviceFailure : Failure {
  using Failure::Failure;
};

// Does what leaves nothing to go on with where it fails midway: then it fails for good.
template <class Work>
void whole_or_lost(const Work &work) try {
  work();
} catch (const DeviceFailure &) {
  throw;
} catch (const Failure &failure) {
  throw DeviceFailure(failure.what(), failure.because, failure.hint);
} catch (const std::bad_alloc &) {
  throw DeviceFailure("there is no memory for another budget", "an allocation failed",
                      "end other programs, and start again");
}

// The caller ended the run, between two chunks of it.
struct Cancelled : Failure {
  Cancelled() : Failure("interrupted", "the run was cancelled", "what was fed so far is held") {}
};

}  // namespace pocket
