#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/failure.h"

namespace pocket {

MappedFile::MappedFile(const std::string &path, size_t size) : size_(size) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void *data =
      file < 0 ? MAP_FAILED : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  const int error = errno;
  if (file >= 0) close(file);
  if (data == MAP_FAILED)
    throw Failure(path + " can't be mapped", strerror(error),
                  "check the file's permissions and the free memory");
  data_ = static_cast<char *>(data);
}

MappedFile::MappedFile(MappedFile &&other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, size_);
}

}  // namespace pocket
