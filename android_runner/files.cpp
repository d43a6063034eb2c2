#include "files.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "failure.h"
#include "plan.h"

namespace pocket {
namespace {

const char *const HALF = ".half.";  // then the process that writes it

}  // namespace

void make_folders(const std::string &path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1))
    mkdir(path.substr(0, slash).c_str(), 0755);
  mkdir(path.c_str(), 0755);
}

std::string text_of(const std::string &path) try {
  return access(path.c_str(), R_OK) == 0 ? read_file(path) : "";
} catch (const Failure &) {
  return "";
}

void write_whole(const std::string &path, const std::string &content) {
  const std::string temporary = path + HALF + std::to_string(getpid());
  FILE *file = fopen(temporary.c_str(), "wb");
  if (!file) return;
  const bool whole = fwrite(content.data(), 1, content.size(), file) == content.size();
  if (fclose(file) != 0 || !whole || rename(temporary.c_str(), path.c_str()) != 0)
    unlink(temporary.c_str());
}

bool alive(int process) { return kill(process, 0) == 0 || errno == EPERM; }

void remove_halves(const std::string &path) {
  DIR *folder = opendir(path.c_str());
  if (!folder) return;
  while (const dirent *entry = readdir(folder)) {
    const std::string name = entry->d_name;
    const size_t at = name.rfind(HALF);
    if (at == std::string::npos) continue;
    const int process = static_cast<int>(strtol(name.c_str() + at + 6, nullptr, 10));
    if (process > 0 && !alive(process)) unlink((path + "/" + name).c_str());
  }
  closedir(folder);
}

}  // namespace pocket
