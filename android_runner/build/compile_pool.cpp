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

constexpr size_t MOST_WORKERS = 4;   // each holds a compiler in memory
const char *const MARK = "build: ";  // before a worker's own words, among those of its driver

// One worker process, and the pipes to it.
class Worker {
 public:
  Worker(const std::vector<std::string> &command, const std::vector<int> &strangers,
         double limit_s);
  Worker(const Worker &) = delete;
  ~Worker() { end(); }

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
  std::string unread_, chatter_;  // chatter: the driver's last lines
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

Worker::Worker(const std::vector<std::string> &command, const std::vector<int> &strangers,
               double limit_s)
    : limit_s_(limit_s), deadline_(now() + limit_s) {
  std::vector<char *> words;
  for (const std::string &word : command) words.push_back(const_cast<char *>(word.c_str()));
  words.push_back(nullptr);
  int in[2], out[2];
  if (pipe(in) != 0) return;
  if (pipe(out) != 0) {
    close(in[0]);
    close(in[1]);
    return;
  }
  std::vector<int> unused = strangers;  // inherited, they would keep another worker's input open
  unused.insert(unused.end(), {in[0], in[1], out[0], out[1]});
  pid_ = fork();
  if (pid_ == 0) become(words.data(), in[0], out[1], unused);
  close(in[0]);
  close(out[1]);
  input_ = in[1];
  output_ = out[0];
}

void Worker::give(size_t program) {
  program_ = program;
  busy_ = true;
  deadline_ = now() + limit_s_;
  const std::string line = std::to_string(program) + "\n";
  // A worker that can't read it is dead, and that shows at its output.
  if (write(input_, line.data(), line.size()) < 0 && errno == EINTR) give(program);
}

bool Worker::listen() {
  char piece[4096];
  const ssize_t n = read(output_, piece, sizeof piece);
  if (n > 0) unread_.append(piece, static_cast<size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

bool Worker::answer(std::string &word) {
  for (size_t end; (end = unread_.find('\n')) != std::string::npos;) {
    const std::string line = unread_.substr(0, end);
    unread_.erase(0, end + 1);
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

void Worker::talk(const std::string &line) {
  chatter_ += (chatter_.empty() ? "" : "\n") + line.substr(0, 200);
  while (std::count(chatter_.begin(), chatter_.end(), '\n') > 2)
    chatter_.erase(0, chatter_.find('\n') + 1);
}

int Worker::end() {
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

// What a worker did that ended with a program in its hands.
Outcome exit_outcome(Worker &worker, bool late, double limit_s) {
  const int status = worker.end();
  const std::string chatter = worker.chatter();
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

// The workers, and what is left to do.
class PoolRun {
 public:
  PoolRun(const std::vector<std::string> &command, double limit_s,
          const std::vector<size_t> &programs)
      : command_(command), limit_s_(limit_s), todo_(programs.begin(), programs.end()) {}

  std::map<size_t, Outcome> run() {
    const size_t most = std::min(MOST_WORKERS, std::max<size_t>(cores(), 1));
    while (true) {
      while (broken_.empty() && workers_.size() < most && todo_.size() > starting()) start();
      if (workers_.empty()) break;
      attend();
    }
    for (const size_t program : todo_) outcomes_[program] = {Outcome::Untried, broken_, ""};
    return std::move(outcomes_);
  }

 private:
  // Workers that have nothing to do yet: they will take from what is left.
  size_t starting() const {
    return static_cast<size_t>(std::count_if(workers_.begin(), workers_.end(),
                                             [](const auto &worker) { return !worker->busy(); }));
  }

  void start() {
    std::vector<int> pipes;
    for (const auto &worker : workers_)
      for (const int pipe_end : worker->pipes()) pipes.push_back(pipe_end);
    workers_.push_back(std::make_unique<Worker>(command_, pipes, limit_s_));
  }

  void attend() {
    std::vector<pollfd> polled;
    double wait_s = limit_s_;
    for (const auto &worker : workers_) {
      polled.push_back({worker->output(), POLLIN, 0});
      wait_s = std::min(wait_s, worker->left_s());
    }
    if (poll(polled.data(), polled.size(), static_cast<int>(wait_s * 1000) + 1) < 0) return;
    for (size_t i = polled.size(); i-- > 0;) {
      const bool heard = polled[i].fd >= 0 && polled[i].revents != 0;
      const bool alive = polled[i].fd >= 0 && (!heard || workers_[i]->listen());
      hand_out(*workers_[i]);
      if (!alive || workers_[i]->late()) remove(i);
      else if (done(*workers_[i])) workers_.erase(workers_.begin() + static_cast<long>(i));
    }
  }

  void hand_out(Worker &worker) {
    std::string word;
    while (worker.answer(word)) {
      const size_t program = worker.program();
      if (word == "built") outcomes_[program] = {Outcome::Built, "", ""};
      if (word == "refused") outcomes_[program] = {Outcome::Refused, "", ""};
      if (todo_.empty()) continue;
      worker.give(todo_.front());
      todo_.pop_front();
    }
  }

  bool done(const Worker &worker) const {
    return todo_.empty() && worker.was_ready() && !worker.busy();
  }

  void remove(size_t index) {
    Worker &worker = *workers_[index];
    if (worker.busy()) {
      outcomes_[worker.program()] = exit_outcome(worker, worker.late(), limit_s_);
    } else if (!worker.was_ready()) {
      broken_ = worker.chatter().empty() ? "it ended before its first program" : worker.chatter();
    }
    workers_.erase(workers_.begin() + static_cast<long>(index));
  }

  const std::vector<std::string> &command_;
  const double limit_s_;
  std::deque<size_t> todo_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<size_t, Outcome> outcomes_;
  std::string broken_;  // why no worker can be started
};

}  // namespace

std::map<size_t, Outcome> CompilePool::build(const std::vector<size_t> &programs) const {
  return PoolRun(command_, limit_s_, programs).run();
}

}  // namespace pocket
