#include "build/compile_pool.h"

#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <memory>

#include "base/os.h"
#include "base/signals.h"

namespace pocket {
namespace {

constexpr size_t MOST_CHILDREN = 4;  // each holds a compiler in memory
const char *const MARK = "build: ";  // of a child's own words, among those of its driver

// One child, and the pipes to it.
class Child {
 public:
  Child(const std::vector<std::string> &command, const std::vector<int> &strangers, double limit_s);
  Child(const Child &) = delete;
  ~Child() { end(); }

  int output() const { return output_; }
  std::vector<int> pipes() const { return {input_, output_}; }
  bool late() const { return now() > deadline_; }
  double left_s() const { return std::max(deadline_ - now(), 0.0); }
  bool busy() const { return busy_; }
  bool was_ready() const { return ready_; }
  size_t program() const { return program_; }
  const std::string &chatter() const { return chatter_; }

  void give(size_t program);
  bool listen();                   // false at the end of its output
  bool answer(std::string &word);  // the next of its own words
  int end();                       // kills it if it lives; its wait status

 private:
  void talk(const std::string &line);

  const double limit_s_;
  pid_t pid_ = -1;
  int input_ = -1, output_ = -1, status_ = 0;
  double deadline_;
  bool busy_ = false, ready_ = false;
  size_t program_ = 0;
  std::string held_, chatter_;  // chatter: the driver's last lines
};

[[noreturn]] void become(char *const *words, int input, int output,
                         const std::vector<int> &close_) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(input, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  for (const int other : close_) close(other);
  execv(words[0], words);
  _exit(127);
}

Child::Child(const std::vector<std::string> &command, const std::vector<int> &strangers,
             double limit_s)
    : limit_s_(limit_s), deadline_(now() + limit_s) {
  std::vector<char *> words;
  for (const std::string &word : command) words.push_back(const_cast<char *>(word.c_str()));
  words.push_back(nullptr);
  int in[2], out[2];
  if (pipe(in) != 0) return;
  if (pipe(out) != 0) {
    close(in[0]), close(in[1]);
    return;
  }
  std::vector<int> unused = strangers;  // inherited, they would keep another child's input open
  unused.insert(unused.end(), {in[0], in[1], out[0], out[1]});
  pid_ = fork();
  if (pid_ == 0) become(words.data(), in[0], out[1], unused);
  close(in[0]), close(out[1]);
  input_ = in[1], output_ = out[0];
}

void Child::give(size_t program) {
  program_ = program;
  busy_ = true;
  deadline_ = now() + limit_s_;
  const std::string line = std::to_string(program) + "\n";
  // A child that can't read it is dead, and that shows at its output.
  if (write(input_, line.data(), line.size()) < 0 && errno == EINTR) give(program);
}

bool Child::listen() {
  char piece[4096];
  const ssize_t n = read(output_, piece, sizeof piece);
  if (n > 0) held_.append(piece, static_cast<size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

bool Child::answer(std::string &word) {
  for (size_t end; (end = held_.find('\n')) != std::string::npos;) {
    const std::string line = held_.substr(0, end);
    held_.erase(0, end + 1);
    if (line.rfind(MARK, 0) == 0) {
      word = line.substr(strlen(MARK));
      busy_ = false;
      ready_ = true;
      return true;
    }
    if (!line.empty()) talk(line);
  }
  return false;
}

void Child::talk(const std::string &line) {
  chatter_ += (chatter_.empty() ? "" : "\n") + line.substr(0, 200);
  while (std::count(chatter_.begin(), chatter_.end(), '\n') > 2)
    chatter_.erase(0, chatter_.find('\n') + 1);
}

int Child::end() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);  // does nothing to one that has ended
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
  }
  for (const int pipe_end : {input_, output_})
    if (pipe_end >= 0) close(pipe_end);
  pid_ = input_ = output_ = -1;
  return status_;
}

// What a child did that ended with a program in its hands.
Outcome death(Child &child, bool late, double limit_s) {
  const int status = child.end();
  const std::string chatter = child.chatter();
  if (late)
    return {Outcome::Died, "hung for " + std::to_string(static_cast<int>(limit_s)) + " s", chatter};
  if (WIFEXITED(status))
    return {Outcome::Died, "ended with code " + std::to_string(WEXITSTATUS(status)), chatter};
  const int signal = WTERMSIG(status);
  return {is_crash(signal) ? Outcome::Died : Outcome::Interrupted,
          "was killed by " + signal_name(signal), chatter};
}

size_t cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  size_t count = 0;
  for (size_t i = 0; i < CPU_SETSIZE; ++i) count += CPU_ISSET(i, &set) ? 1 : 0;
  return count;
}

// The children at work, and what is left to do.
class Shift {
 public:
  Shift(const std::vector<std::string> &command, double limit_s,
        const std::vector<size_t> &programs)
      : command_(command), limit_s_(limit_s), todo_(programs.begin(), programs.end()) {}

  std::map<size_t, Outcome> run() {
    const size_t most = std::min(MOST_CHILDREN, std::max<size_t>(cores(), 1));
    while (true) {
      while (broken_.empty() && children_.size() < most && todo_.size() > starting()) start();
      if (children_.empty()) break;
      attend();
    }
    for (const size_t program : todo_) outcomes_[program] = {Outcome::Untried, broken_, ""};
    return std::move(outcomes_);
  }

 private:
  // Children that have nothing to do yet: they will take from what is left.
  size_t starting() const {
    return static_cast<size_t>(std::count_if(children_.begin(), children_.end(),
                                             [](const auto &child) { return !child->busy(); }));
  }

  void start() {
    std::vector<int> pipes;
    for (const auto &child : children_)
      for (const int pipe_end : child->pipes()) pipes.push_back(pipe_end);
    children_.push_back(std::make_unique<Child>(command_, pipes, limit_s_));
  }

  void attend() {
    std::vector<pollfd> polled;
    double wait_s = limit_s_;
    for (const auto &child : children_) {
      polled.push_back({child->output(), POLLIN, 0});
      wait_s = std::min(wait_s, child->left_s());
    }
    if (poll(polled.data(), polled.size(), static_cast<int>(wait_s * 1000) + 1) < 0) return;
    for (size_t i = polled.size(); i-- > 0;) {
      const bool heard = polled[i].fd >= 0 && polled[i].revents != 0;
      const bool alive = polled[i].fd >= 0 && (!heard || children_[i]->listen());
      serve(*children_[i]);
      if (!alive || children_[i]->late()) bury(i);
      else if (done(*children_[i])) children_.erase(children_.begin() + static_cast<long>(i));
    }
  }

  void serve(Child &child) {
    std::string word;
    while (child.answer(word)) {
      const size_t program = child.program();
      if (word == "built") outcomes_[program] = {Outcome::Built, "", ""};
      if (word == "refused") outcomes_[program] = {Outcome::Refused, "", ""};
      if (todo_.empty()) continue;
      child.give(todo_.front());
      todo_.pop_front();
    }
  }

  bool done(const Child &child) const {
    return todo_.empty() && child.was_ready() && !child.busy();
  }

  void bury(size_t index) {
    Child &child = *children_[index];
    if (child.busy()) {
      outcomes_[child.program()] = death(child, child.late(), limit_s_);
    } else if (!child.was_ready()) {
      broken_ = child.chatter().empty() ? "it ended before its first program" : child.chatter();
    }
    children_.erase(children_.begin() + static_cast<long>(index));
  }

  const std::vector<std::string> &command_;
  const double limit_s_;
  std::deque<size_t> todo_;
  std::vector<std::unique_ptr<Child>> children_;
  std::map<size_t, Outcome> outcomes_;
  std::string broken_;  // why no child can be started
};

}  // namespace

std::map<size_t, Outcome> BuildFarm::build(const std::vector<size_t> &programs) const {
  return Shift(command_, limit_s_, programs).run();
}

}  // namespace pocket
