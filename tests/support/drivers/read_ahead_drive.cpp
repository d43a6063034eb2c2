// What was read ahead goes away while the pool's threads still read it: FOLDER has a file of 16 pages,
// whose reads begin, and end when whoever doesn't want them any more is about to give their memory back.
// Then what two of three tables have is there, and still being read at the end; of the first nothing.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "gather/read_ahead.h"

namespace {

using namespace pocket;

constexpr int32_t PAGES = 16, PIECES = 2;
constexpr int64_t PAGE = 4096;
std::atomic<int> begun;
std::atomic<bool> unwanted;

}  // namespace

extern "C" ssize_t pread(int file, void *to, size_t bytes, off_t at) {
  ++begun;
  while (!unwanted) usleep(100);
  usleep(20'000);
  return syscall(SYS_pread64, file, to, bytes, at);
}

extern "C" ssize_t pread64(int file, void *to, size_t bytes, off_t at) {
  return pread(file, to, bytes, at);
}

int main(int, char **arguments) {
  Plan plan;
  plan.folder = arguments[1];
  plan.files.push_back({"flash.bin", PAGES * PAGE, "", false});
  Table table{};
  table.count = PAGES;
  table.bytes = table.stride = PAGE;
  plan.tables.push_back(table);
  const RecordStore store(plan, RecordStore::Way::Cached);
  IoPool pool(store, PIECES, PAGES * PAGE);
  ReadAhead ahead(pool);
  Ahead found;
  for (int32_t record = 0; record < PAGES; ++record) found.records.push_back(record);
  found.runs = coalesce(table, found.records, {0, PAGES * PAGE, AT_ONCE});
  ahead.begin(0, table, found);
  while (begun < PIECES) usleep(100);
  ahead.expect(0, {});
  unwanted = true;
  for (size_t number = 0; number < 3; ++number) ahead.begin(number, table, found);
  return ahead.wait(0, 0) || !ahead.wait(1, 0) || !ahead.wait(2, PAGES - 1);
}
