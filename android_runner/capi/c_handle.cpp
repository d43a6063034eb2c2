#include "capi/c_handle.h"

namespace pocket {

pocketcl_status tell(pocketcl &handle, pocketcl_status status, const char *what,
                     const char *because, const char *hint) noexcept {
  handle.starved = false;
  try {
    handle.what = what;
    handle.because = because;
    handle.hint = hint;
  } catch (const std::bad_alloc &) {
    handle.starved = true;
  }
  return status;
}

pocketcl_status tell(pocketcl &handle, pocketcl_status status, const Failure &failure) noexcept {
  return tell(handle, status, failure.what(), failure.because.c_str(), failure.hint.c_str());
}

}  // namespace pocket
