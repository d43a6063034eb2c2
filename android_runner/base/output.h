// Files that the runner writes figures to.
#pragma once
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/failure.h"

namespace pocket {

Failure unwritable(const std::string &path);  // by errno

class Output {
 public:
  explicit Output(const std::string &path);  // throws Failure, as the others do
  void write(const void *data, size_t bytes);
  void write(const std::vector<float> &values) { write(values.data(), 4 * values.size()); }

 private:
  struct Close {
    void operator()(FILE *file) const { fclose(file); }
  };
  const std::string path_;
  const std::unique_ptr<FILE, Close> file_;
};

}  // namespace pocket
