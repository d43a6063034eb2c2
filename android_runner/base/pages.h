// Memory of whole pages, as reads past the page cache need it.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <utility>

namespace pocket {

class Pages {
 public:
  // Those that nothing was written to take no memory.
  explicit Pages(size_t bytes) : size_(bytes) {
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, how, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<char *>(found);
  }
  Pages(Pages &&other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Pages(const Pages &) = delete;
  Pages &operator=(Pages &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Pages() {
    if (data_) munmap(data_, size_);
  }
  // What lies behind so many bytes, in whole pages of whatever size, takes no memory from here on
  // and is zero.
  void give_back(size_t kept) const {
    const size_t whole = (kept + LARGEST_PAGE - 1) / LARGEST_PAGE * LARGEST_PAGE;
    if (whole < size_) madvise(data_ + whole, size_ - whole, MADV_DONTNEED);
  }
  char *data() const { return data_; }
  size_t size() const { return size_; }

 private:
  static constexpr size_t LARGEST_PAGE = 65536;  // of any system

  char *data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace pocket
