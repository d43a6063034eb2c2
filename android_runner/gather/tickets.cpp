#include "gather/tickets.h"

#include <algorithm>

namespace pocket {

int64_t Tickets::bytes(int64_t most) {
  return static_cast<int64_t>(sizeof(int32_t)) * (static_cast<int64_t>(HEAD) + 2 * most);
}

Tickets::Tickets(const Device &device, int64_t most) {
  for (size_t i = 0; i < COUNT; ++i)
    ring_.push_back({SharedMemory(device, bytes(most), "a ticket"), {}, {}});
}

cl::Memory Tickets::fill(cl::Queue queue, const std::vector<int32_t> &pairs, bool begins) {
  turn_ = (turn_ + 1) % COUNT;
  Ticket &ticket = ring_[turn_];
  ticket.ended.wait();
  const auto count = static_cast<int32_t>(pairs.size() / 2);
  const int32_t head[HEAD] = {count, begins, 0, 0};
  auto *words = reinterpret_cast<int32_t *>(ticket.memory.host());
  if (!words) {
    ticket.words.resize(HEAD + pairs.size());
    words = ticket.words.data();
  }
  std::copy(head, head + HEAD, words);
  std::copy(pairs.begin(), pairs.end(), words + HEAD);
  if (!ticket.memory.host())
    ticket.memory.write(queue, 0, words, static_cast<int64_t>(sizeof *words * (HEAD + pairs.size())));
  return ticket.memory.get();
}

}  // namespace pocket
