#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>

#include "base/os.h"
#include "probe/probe.h"

namespace pocket {
namespace {

constexpr size_t FRAME_ITEMS = 1 << 16, FRAME_LOCAL = 64;  // of a frame: a picture of 256 x 256
constexpr size_t MOST_FRAMES = 1 << 20;                    // frames that are remembered: hours of them

// A client that draws: nothing is in its queue but the frame that it waits for.
class Screen {
 public:
  explicit Screen(const ProbeOptions &options)
      : bench_(options),
        draw_(bench_.kernel(PROBE_DEFINES, "probe_store")),
        picture_(bench_.device().buffer(4 * FRAME_ITEMS, "a frame")) {
    const uint32_t colour = 1;
    set_buffer(draw_.get(), 0, picture_.get());
    cl::check(cl::SetKernelArg(draw_.get(), 1, sizeof colour, &colour), "clSetKernelArg");
  }

  // Seconds until the device has drawn it.
  double frame() const {
    const double begun = now();
    bench_.launch(draw_.get(), FRAME_ITEMS, FRAME_LOCAL);
    bench_.finish();
    return now() - begun;
  }

 private:
  Bench bench_;
  const cl::Owned<cl::Kernel> draw_;
  const cl::Owned<cl::Memory> picture_;
};

std::string listed_ms(const std::vector<double> &seconds) {
  std::string list;
  char text[32];
  for (const double each : seconds) {
    snprintf(text, sizeof text, "%s%.3f", list.empty() ? "" : ", ", 1e3 * each);
    list += text;
  }
  return "{\"waits_ms\": [" + list + "]}";
}

// What stands on standard input by then, up to a line's end; empty: nothing, '\0': it has ended.
std::string asked_until(double due) {
  pollfd ready = {STDIN_FILENO, POLLIN, 0};
  const double left = std::clamp(due - now(), 0.0, 1.0);
  if (poll(&ready, 1, static_cast<int>(std::ceil(1e3 * left))) <= 0) return "";
  char word[16];
  const ssize_t got = read(STDIN_FILENO, word, sizeof word);
  if (got < 0 && errno == EINTR) return "";
  return got <= 0 ? std::string(1, '\0') : std::string(word, static_cast<size_t>(got));
}

}  // namespace

void serve_frames(const ProbeOptions &options, double period_s, const Say &say) {
  const Screen screen(options);
  screen.frame();  // wakes the device, and the driver's code for this size of launch
  say("ready");
  std::vector<double> waits;
  bool drawing = false;
  for (double due = now() + period_s;;) {
    const std::string asked = asked_until(due);
    if (asked.find('\0') != std::string::npos) return;
    if (!asked.empty()) {
      drawing = asked[0] == 'g';
      say(listed_ms(waits));
      waits.clear();
    }
    if (now() < due) continue;
    if (drawing && waits.size() < MOST_FRAMES) waits.push_back(screen.frame());
    due = std::max(due + period_s, now());
  }
}

}  // namespace pocket
