// The line protocol: commands on stdin, answers on stdout, one line each.
//
//   sampling W0 … W15         ok               how ids are chosen (sampling.clh)
//   logprobs START STOP       logprobs X …     of the ids at these positions, if asked for
//   begin START…              ok               of each text of a batch, the position of its first
//                                              token, behind the padding; 0 before
//   expect N                  ok               the text will have N tokens: matters to plans whose
//                                              tables depend on that; 0: not known
//   prefill PAST ID…          ok NEXT… SECONDS
//   step PAST ID…             ok NEXT… SECONDS
//   decode PAST ID N [STOP…]  id X, one line per token as it comes; then done REASON SECONDS.
//                             The line `cancel`, or SIGINT, ends it early. Outside of decode
//                             `cancel` does nothing. `budget` is done at once, between two tokens,
//                             and answered among their lines: its
//                             errors have "of", which says so.
//   score PAST FILE ID…       ok SECONDS       float32 [batch, IDs, V] of each chunk in FILE
//   logits FILE               ok               float32 [batch, V] in FILE
//   profile [FILE]            ok               kernel times from here on; with FILE: written, ended
//   halves [FILE]             ok               what stored halves hold, from here on; with FILE:
//                                              written, ended (base/halves.h)
//   save PAST FILE            ok               text and states up to PAST (state_file.h). FILE ends
//                             with the line or a tab; after that, a JSON object to keep
//   load FILE                 ok PAST REACHED  how far the text goes, and how far rings were filled
//   budget BYTES              ok MEMORY        of a plan with weights in flash: what it may take from
//                                              here on, and what it takes then. It is no error where
//                                              that is less
//   flash PROFILE             ok               another one is imitated, where one is: for tests
//   flash ALPHA BETA          ok               likewise: seconds of a read, and bytes a second
//   stats                     stats {…}
//   quit
//
// A plan of a batch takes as many ids of each text: all of the first, then all of the second …; it
// has no decode, save and load, which are of one text.
//
// A command that can't be done answers error {"what", "because", "hint"}; the next one may follow.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "base/failure.h"
#include "session/session.h"

namespace pocket {

void answer(
    const std::string &line);  // flushed; ends the process quietly when nobody reads any more
void answer(const Failure &failure, const char *of = nullptr);  // of: the command, where it matters

// Lines of stdin, with a look at what has already arrived.
class Input {
 public:
  bool next(std::string &line);        // waits; false at the end of input or on SIGINT
  // Takes the next line if it is there and begins with one of these words.
  bool take_if(std::initializer_list<const char *> words, std::string &line);

 private:
  bool buffered(std::string &line) const;
  bool fill();
  std::string unread_;
};

class Protocol {
 public:
  explicit Protocol(Session &session) : session_(session) {}
  void serve();  // until quit, the end of input, or SIGINT

 private:
  bool handle(const std::string &line);
  void run(const std::string &command, const std::vector<std::string> &words);
  bool interrupted();
  void budget(const std::string &bytes);
  void flash(const std::vector<std::string> &words);
  void decode(const std::vector<std::string> &words);
  void score(const std::vector<std::string> &words);
  void profile(const std::string &path);
  void halves(const std::string &path);
  void save(const std::string &line, const std::string &past);
  void load(const std::string &line);

  Session &session_;
  Input input_;
};

void watch_signals();  // SIGINT sets a flag, SIGPIPE is an error of write

}  // namespace pocket
