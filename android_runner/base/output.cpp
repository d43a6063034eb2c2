#include "base/output.h"

#include <cerrno>
#include <cstring>

namespace pocket {

Failure unwritable(const std::string &path) {
  return Failure(path + " can't be written", strerror(errno),
                 "check the folder and the free space");
}

Output::Output(const std::string &path) : path_(path), file_(fopen(path.c_str(), "wb")) {
  if (!file_) throw unwritable(path_);
}

void Output::write(const void *data, size_t bytes) {
  if (fwrite(data, 1, bytes, file_.get()) != bytes || fflush(file_.get()) != 0)
    throw unwritable(path_);
}

}  // namespace pocket
