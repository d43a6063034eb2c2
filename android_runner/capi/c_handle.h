// The handle of include/pocketcl.h: one call at a time has it, nothing is thrown over this border.
#pragma once
#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/failure.h"
#include "include/pocketcl.h"
#include "session/engine.h"

struct pocketcl {
  std::unique_ptr<pocket::Engine> engine;
  std::vector<int32_t> eos;
  mutable std::atomic<bool> busy{false};
  std::atomic<bool> cancelled{false};
  bool lost = false, starved = false;  // starved: there was no memory for the error's texts
  std::string what, because, hint, json;
};

namespace pocket {

// The handle for one call at a time: `mine` is false while another call has it.
class Exclusive {
 public:
  explicit Exclusive(const pocketcl &handle)
      : busy_(handle.busy), mine(!busy_.exchange(true, std::memory_order_acquire)) {}
  Exclusive(const Exclusive &) = delete;
  ~Exclusive() {
    if (mine) busy_.store(false, std::memory_order_release);
  }

 private:
  std::atomic<bool> &busy_;

 public:
  const bool mine;
};

// What a call answers, and the texts that tell why.
pocketcl_status tell(pocketcl &handle, pocketcl_status status, const char *what,
                     const char *because, const char *hint) noexcept;
pocketcl_status tell(pocketcl &handle, pocketcl_status status, const Failure &failure) noexcept;

// Does the work; what it throws becomes a status.
template <class Work>
pocketcl_status guarded(pocketcl &handle, const Work &work) noexcept try {
  work();
  return POCKETCL_OK;
} catch (const Cancelled &failure) {
  return tell(handle, POCKETCL_CANCELLED, failure);
} catch (const DeviceFailure &failure) {
  handle.lost = true;
  return tell(handle, POCKETCL_LOST, failure);
} catch (const Failure &failure) {
  return tell(handle, POCKETCL_ERROR, failure);
} catch (const std::bad_alloc &) {
  return tell(handle, POCKETCL_ERROR, "out of memory", "the system gave no more",
              "a smaller --max-context or a smaller model");
} catch (const std::exception &error) {
  return tell(handle, POCKETCL_ERROR, "PocketCL failed", error.what(), "please report this");
} catch (...) {
  return tell(handle, POCKETCL_ERROR, "PocketCL failed", "something was thrown",
              "please report this");
}

// The same with the session, unless another call has the handle, or the device is lost. A template:
// a std::function may find no memory, outside of what is caught.
template <class Work>
pocketcl_status with(pocketcl *handle, const Work &work) noexcept {
  if (!handle) return POCKETCL_ERROR;
  const Exclusive access(*handle);
  if (!access.mine) return POCKETCL_BUSY;
  if (handle->lost) return POCKETCL_LOST;
  handle->cancelled = false;
  return guarded(*handle, [&] { work(handle->engine->session()); });
}

}  // namespace pocket
