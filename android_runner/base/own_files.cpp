#include "base/own_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

namespace pocket {
namespace {

constexpr int MOST_LINKS = 40;
constexpr uid_t ANDROIDS_SYSTEM = 1000;  // owns /data on phones
constexpr mode_t BY_OTHERS = S_IWGRP | S_IWOTH;

std::string owned_by(const std::string &path, uid_t user) {
  return "user " + std::to_string(user) + " owns " + path;
}

std::string of_own(const std::string &path, const struct stat &status) {
  if (status.st_uid != geteuid()) return owned_by(path, status.st_uid);
  return status.st_mode & BY_OTHERS ? "others can write to " + path : "";
}

bool trusted(uid_t user) {
  return user == 0 || user == geteuid() ||
         (user == ANDROIDS_SYSTEM && access("/system/bin/sh", X_OK) == 0);
}

// Of a folder above, or a link on the way: whoever can exchange what is below. A group may: systems
// give each user one of their own, and what others put there is not the user's.
std::string on_the_way(const std::string &path, const struct stat &status) {
  if (!trusted(status.st_uid)) return owned_by(path, status.st_uid);
  const bool open = S_ISDIR(status.st_mode) && status.st_mode & S_IWOTH;
  return open && !(status.st_mode & S_ISVTX) ? "others can write to " + path : "";
}

std::string target_of(const std::string &link) {
  char path[PATH_MAX];
  const ssize_t size = readlink(link.c_str(), path, sizeof path);
  return std::string(path, size > 0 ? static_cast<size_t>(size) : 0);
}

std::string absolute(const std::string &path) {
  char here[PATH_MAX];
  if (!path.empty() && path[0] == '/') return path;
  return getcwd(here, sizeof here) ? std::string(here) + "/" + path : path;
}

std::string above(const std::string &path) { return path.substr(0, path.rfind('/')); }

// Takes the first name off a path.
std::string next_name(std::string &path) {
  path.erase(0, path.find_first_not_of('/'));
  const std::string name = path.substr(0, path.find('/'));
  path.erase(0, name.size());
  return name;
}

}  // namespace

void make_own_folder(const std::string &path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string folder = path.substr(0, slash);
    if (mkdir(folder.c_str(), S_IRWXU) == 0) chmod(folder.c_str(), S_IRWXU);  // the umask took some
    if (slash == std::string::npos) return;
  }
}

// Name by name from the root on, and along links.
std::string weakness(const std::string &folder) {
  std::string at, rest = absolute(folder);  // at: empty for the root
  for (int links = 0; links < MOST_LINKS;) {
    const std::string here = at.empty() ? "/" : at, name = next_name(rest);
    struct stat status {};
    if (lstat(here.c_str(), &status) != 0) return "";
    const bool link = S_ISLNK(status.st_mode);
    if (!link && name.empty()) return of_own(here, status);
    const std::string why = on_the_way(here, status);
    if (!why.empty()) return why;
    if (link) {
      const std::string target = target_of(here);
      at = target.rfind('/', 0) == 0 ? "" : above(at);
      rest = target + "/" + name + rest;
      ++links;
    } else if (name == "..") {
      at = above(at);
    } else if (name != ".") {
      at += "/" + name;
    }
  }
  return folder + " is a link without an end";
}

std::string text_of_own(const std::string &path, std::string &why) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat status {};
  std::string text;
  if (file < 0) return text;
  if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) &&
      (why = of_own(path, status)).empty()) {
    char piece[65536];
    for (ssize_t n; (n = read(file, piece, sizeof piece)) > 0;)
      text.append(piece, static_cast<size_t>(n));
  }
  close(file);
  return text;
}

}  // namespace pocket
