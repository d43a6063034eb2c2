// One error as the user sees it: what went wrong, because of what, and what to try.
#pragma once
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

// The caller ended the run, between two chunks of it.
struct Cancelled : Failure {
  Cancelled() : Failure("interrupted", "the run was cancelled", "what was fed so far is held") {}
};

}  // namespace pocket
