#include "program/protocol.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/json.h"
#include "base/os.h"
#include "base/output.h"
#include "base/text.h"

namespace pocket {
namespace {

volatile sig_atomic_t interrupt = 0;

void on_interrupt(int) { interrupt = 1; }

Failure usage(const std::string &line) {
  const std::string shown = line.size() > 60 ? line.substr(0, 60) + "…" : line;
  return Failure("unknown or incomplete command '" + shown + "'",
                 "the runner knows prefill PAST ID…, step PAST ID…, decode PAST ID N [STOP…], "
                 "begin START…, expect N, sampling W0 … W15, logprobs START STOP, "
                 "score PAST FILE ID…, logits FILE, save PAST FILE, load FILE, "
                 "profile [FILE], halves [FILE], budget BYTES, "
                 "flash PROFILE, stats, cancel, quit",
                 "see android_runner/program/protocol.h");
}

// Of at most `most` in size; nothing where the word is none.
std::optional<int64_t> whole_number(const std::string &word, int64_t most) {
  char *end = nullptr;
  errno = 0;
  const int64_t value = strtoll(word.c_str(), &end, 10);
  if (word.empty() || *end || errno || value > most || value < -most - 1) return std::nullopt;
  return value;
}

Failure no_number(const std::string &word, const std::string &kind) {
  return {"'" + word + "' is not a " + kind, "the command needs a number there",
          "see android_runner/program/protocol.h"};
}

int64_t number(const std::string &word) {
  const std::optional<int64_t> value = whole_number(word, INT32_MAX);
  if (!value) throw no_number(word, "32-bit integer");
  return *value;
}

std::vector<int64_t> numbers(const std::vector<std::string> &words, size_t from) {
  std::vector<int64_t> values;
  for (size_t i = from; i < words.size(); ++i) values.push_back(number(words[i]));
  return values;
}

std::string listed(const std::vector<float> &values) {
  std::string list;
  char text[32];
  for (const float value : values) {
    snprintf(text, sizeof text, " %.9g", static_cast<double>(value));
    list += text;
  }
  return list;
}

std::string listed(const std::vector<int64_t> &ids) {
  std::string list;
  for (const int64_t id : ids) list += " " + std::to_string(id);
  return list;
}

std::string seconds(double value) {
  char text[32];
  snprintf(text, sizeof text, "%.6f", value);
  return text;
}

}  // namespace

void watch_signals() {
  signal(SIGINT, on_interrupt);
  signal(SIGPIPE, SIG_IGN);
}

void answer(const std::string &line) {
  const std::string whole = line + "\n";
  for (size_t at = 0; at < whole.size();) {
    const ssize_t n = write(STDOUT_FILENO, whole.data() + at, whole.size() - at);
    if (n < 0 && errno != EINTR) _exit(1);
    if (n > 0) at += static_cast<size_t>(n);
  }
}

void answer(const Failure &failure, const char *of) {
  Record record;
  if (of) record.add("of", of);
  record.add("what", failure.what()).add("because", failure.because).add("hint", failure.hint);
  answer("error " + record.text());
}

bool Input::buffered(std::string &line) const {
  const size_t end = unread_.find('\n');
  if (end == std::string::npos) return false;
  line = unread_.substr(0, end);
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return true;
}

// False at the end of input. A signal ends a poll, while a read goes on after it.
bool Input::fill() {
  char piece[65536];
  pollfd ready{STDIN_FILENO, POLLIN, 0};
  if (poll(&ready, 1, -1) < 0) return errno == EINTR;
  const ssize_t n = read(STDIN_FILENO, piece, sizeof piece);
  if (n > 0) unread_.append(piece, static_cast<size_t>(n));
  return n > 0;
}

bool Input::next(std::string &line) {
  while (!buffered(line))
    if (interrupt || !fill()) return false;
  unread_.erase(0, unread_.find('\n') + 1);
  return true;
}

bool Input::take_if(std::initializer_list<const char *> words, std::string &line) {
  pollfd ready{STDIN_FILENO, POLLIN, 0};
  if (!buffered(line) && poll(&ready, 1, 0) == 1 && ready.revents & POLLIN) fill();
  if (!buffered(line)) return false;
  const std::string word = line.substr(0, line.find(' '));
  if (std::find(words.begin(), words.end(), word) == words.end()) return false;
  unread_.erase(0, unread_.find('\n') + 1);
  return true;
}

// Answers a line that can be done while tokens come, and says whether one asked for their end.
bool Protocol::interrupted() {
  std::string line;
  bool cancelled = interrupt;
  while (!cancelled && input_.take_if({"cancel", "budget"}, line)) {
    cancelled = line == "cancel";
    if (!cancelled) handle(line);
  }
  if (cancelled) interrupt = 0;
  return cancelled;
}

void Protocol::budget(const std::string &bytes) try {
  const std::optional<int64_t> count = whole_number(bytes, INT64_MAX);
  if (!count || *count < 0) throw no_number(bytes, "count of bytes");
  answer("ok " + std::to_string(session_.budget(*count)));
} catch (const DeviceFailure &) {
  throw;
} catch (const Failure &failure) {
  answer(failure, "budget");
}

void Protocol::decode(const std::vector<std::string> &words) {
  const double start = now();
  const int64_t count = number(words[3]);
  if (count < 0) throw usage("decode with a negative count");
  const std::string reason = session_.decode(
      number(words[2]), number(words[1]), count, numbers(words, 4),
      [](int64_t id) { answer("id " + std::to_string(id)); }, [this] { return interrupted(); });
  answer("done " + reason + " " + seconds(now() - start));
}

void Protocol::flash(const std::vector<std::string> &words) {
  if (words.size() == 2) {
    session_.imitate(flash_called(words[1]));
  } else {
    const double alpha_s = strtod(words[1].c_str(), nullptr);
    const double bytes_per_s = strtod(words[2].c_str(), nullptr);
    if (!(alpha_s >= 0 && bytes_per_s > 0)) throw usage("flash without the time of a read");
    session_.imitate(FlashModel(alpha_s, bytes_per_s));
  }
  answer("ok");
}

void Protocol::score(const std::vector<std::string> &words) {
  const double start = now();
  const std::vector<int64_t> ids = numbers(words, 3);
  const int64_t past = number(words[1]);
  session_.check_score(ids, past);
  Output file(words[2]);
  session_.score(
      ids, past, [&file](const std::vector<float> &rows) { file.write(rows); },
      [this] { return interrupted(); });
  answer("ok " + seconds(now() - start));
}

void Protocol::profile(const std::string &path) {
  if (path.empty()) return session_.start_profile();
  const std::string spans = session_.take_profile();
  Output(path).write(spans.data(), spans.size());
}

void Protocol::halves(const std::string &path) {
  if (path.empty()) return session_.start_halves();
  const std::string counts = session_.take_halves();
  Output(path).write(counts.data(), counts.size());
}

void Protocol::save(const std::string &line, const std::string &past) {
  const std::string rest = line.substr(line.find(past, strlen("save ")) + past.size());
  const size_t start = rest.find_first_not_of(' '), tab = rest.find('\t');
  const std::string file = rest.substr(start, tab == std::string::npos ? tab : tab - start);
  session_.save(file, number(past), tab == std::string::npos ? "" : rest.substr(tab + 1));
  answer("ok");
}

void Protocol::load(const std::string &line) {
  const History &history = session_.load(line.substr(line.find_first_not_of(' ', strlen("load"))));
  answer("ok " + std::to_string(history.ids().size()) + " " + std::to_string(history.reached()));
}

void Protocol::run(const std::string &line, const std::vector<std::string> &words) {
  const std::string &command = words[0];
  const size_t given = words.size() - 1;
  const auto stop = [this] { return interrupted(); };
  if (command == "prefill" && given >= 2) {
    const Next next = session_.prefill(numbers(words, 2), number(words[1]), stop);
    answer("ok" + listed(next.ids) + " " + seconds(next.seconds));
  } else if (command == "step" && given >= 2) {
    const Next next = session_.step(numbers(words, 2), number(words[1]));
    answer("ok" + listed(next.ids) + " " + seconds(next.seconds));
  } else if (command == "decode" && given >= 3) {
    decode(words);
  } else if (command == "begin" && given >= 1) {
    session_.begin(numbers(words, 1));
    answer("ok");
  } else if (command == "expect" && given == 1) {
    session_.expect(number(words[1]));
    answer("ok");
  } else if (command == "sampling" && given == 16) {
    session_.configure(numbers(words, 1));
    answer("ok");
  } else if (command == "logprobs" && given == 2) {
    answer("logprobs" + listed(session_.logprobs(number(words[1]), number(words[2]))));
  } else if (command == "score" && given >= 3) {
    score(words);
  } else if (command == "logits" && given >= 1) {
    const std::vector<float> values = session_.logits();
    Output(words[1]).write(values);
    answer("ok");
  } else if (command == "profile" && given <= 1) {
    profile(given ? words[1] : "");
    answer("ok");
  } else if (command == "halves" && given <= 1) {
    halves(given ? words[1] : "");
    answer("ok");
  } else if (command == "save" && given >= 2) {
    save(line, words[1]);
  } else if (command == "load" && given >= 1) {
    load(line);
  } else if (command == "budget" && given == 1) {
    budget(words[1]);
  } else if (command == "flash" && (given == 1 || given == 2)) {
    flash(words);
  } else if (command == "stats" && given == 0) {
    answer("stats " + session_.stats());
  } else if (command != "cancel") {  // one that came too late is no error
    throw usage(line);
  }
}

// False when the process must end: the device failed, or quit.
bool Protocol::handle(const std::string &line) {
  const std::vector<std::string> words = pieces(line, " \t\v\f\r\n");
  if (words.empty()) return true;
  if (words[0] == "quit") return false;
  try {
    run(line, words);
  } catch (const DeviceFailure &) {
    throw;
  } catch (const Failure &failure) {
    answer(failure);
  }
  return true;
}

void Protocol::serve() {
  std::string line;
  while (input_.next(line) && handle(line)) {
  }
}

}  // namespace pocket
