#include "base/signals.h"

#include <csignal>

namespace pocket {
namespace {

const struct {
  int number;
  const char *name;
  bool crash;
} SIGNALS[] = {
    {SIGSEGV, "SIGSEGV", true}, {SIGABRT, "SIGABRT", true},  {SIGBUS, "SIGBUS", true},
    {SIGILL, "SIGILL", true},   {SIGFPE, "SIGFPE", true},    {SIGTRAP, "SIGTRAP", true},
    {SIGSYS, "SIGSYS", true},   {SIGKILL, "SIGKILL", false}, {SIGTERM, "SIGTERM", false},
    {SIGINT, "SIGINT", false},  {SIGHUP, "SIGHUP", false},   {SIGPIPE, "SIGPIPE", false},
};

}  // namespace

bool is_crash(int signal) {
  for (const auto &entry : SIGNALS)
    if (entry.number == signal) return entry.crash;
  return false;
}

std::string signal_name(int signal) {
  for (const auto &entry : SIGNALS)
    if (entry.number == signal) return entry.name;
  return "signal " + std::to_string(signal);
}

}  // namespace pocket
