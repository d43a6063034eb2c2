#include "gather/staging.h"

#include <algorithm>
#include <utility>

namespace pocket {

Staging::Staging(const Device &device, int64_t bytes)
    : bytes_(bytes), memory_(device, bytes, "streamed records") {
  if (!memory_.host()) landing_.emplace(static_cast<size_t>(bytes));
}

Failure no_place() {
  return Failure("there is no place to read weights to", "one is held by what failed before",
                 "start again");
}

void Staging::resize(const Device &device, int64_t bytes) {
  for (const Piece &piece : pieces_)
    if (piece.ended) piece.ended->wait();
  if (bytes == bytes_) return;
  SharedMemory memory(device, bytes, "streamed records");
  if (landing_) landing_.emplace(static_cast<size_t>(bytes));
  memory_ = std::move(memory);
  bytes_ = bytes;
  pieces_.clear();
  at_ = 0;
}

std::optional<int64_t> Staging::take(int64_t count, int64_t bytes, bool wait) {
  if (count == 0) return 0;
  int64_t begin = (at_ + bytes - 1) / bytes * bytes;
  if (begin + count * bytes > bytes_) begin = 0;
  const int64_t end = begin + count * bytes;
  if (!is_free(begin, end, wait)) return std::nullopt;
  pieces_.push_back({begin, end, {}});
  at_ = end;
  return begin;
}

// What has ended is gone.
bool Staging::is_free(int64_t begin, int64_t end, bool wait) {
  for (auto piece = pieces_.begin(); piece != pieces_.end();) {
    const bool apart = piece->end <= begin || end <= piece->begin;
    if (!apart && wait && piece->ended) piece->ended->wait();
    else if (!apart && !(piece->ended && piece->ended->seen())) return false;
    piece = apart ? piece + 1 : pieces_.erase(piece);
  }
  return true;
}

void Staging::launched(int64_t begin, const Ended &ended) {
  const auto found = std::find_if(pieces_.begin(), pieces_.end(), [&](const Piece &piece) {
    return piece.begin == begin && !piece.ended;
  });
  if (found != pieces_.end()) found->ended = ended;
}

void Staging::forget() {
  pieces_.erase(std::remove_if(pieces_.begin(), pieces_.end(),
                               [](const Piece &piece) { return !piece.ended; }),
                pieces_.end());
}

}  // namespace pocket
