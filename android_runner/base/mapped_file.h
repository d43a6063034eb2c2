// A file in memory; private and writable, because drivers pin host memory for writing, yet never
// written.
#pragma once
#include <cstddef>
#include <string>

namespace pocket {

class MappedFile {
 public:
  MappedFile(const std::string &path, size_t size);
  MappedFile(MappedFile &&other) noexcept;
  MappedFile(const MappedFile &) = delete;
  ~MappedFile();
  char *data() const { return data_; }
  size_t size() const { return size_; }

 private:
  char *data_;
  size_t size_;
};

}  // namespace pocket
