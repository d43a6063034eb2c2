// Reads records by the runner's store and pool, and checks each byte; tests/runner/test_flash_reads.py
// says what is expected.
//
//   io_drive read FILE WAY THREADS SECONDS      WAY: storage or cached; SECONDS: a read of an imitated
//                                               flash, 0: none. Lines `FIRST COUNT …` on stdin are
//                                               batches: runs of records. An answer for each.
//   io_drive cancel FILE                        slow reads are given and cancelled
//   io_drive aside FILE                         reads that are given ahead, and others, between which
//                                               counts are set aside: what is counted in the end
//   io_drive imitate                            lines `submit NOW SECONDS`, `finish NOW DUE`,
//                                               `left NOW DUE`
//
// The file's record r is 64 bytes of r & 255, 64 bytes apart, and its size is a multiple of that.
#include <sys/stat.h>

#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "base/json.h"
#include "base/os.h"
#include "offload/io_pool.h"

namespace {

using namespace pocket;

constexpr int64_t RECORD = 64;

Plan plan_of(const std::string &path) {
  struct stat status{};
  stat(path.c_str(), &status);
  const size_t slash = path.rfind('/');
  Plan plan;
  plan.folder = path.substr(0, slash);
  plan.files.push_back({path.substr(slash + 1), static_cast<int64_t>(status.st_size), "", false});
  Table table{};
  table.count = status.st_size / RECORD;
  table.bytes = table.stride = RECORD;
  plan.tables.push_back(table);
  return plan;
}

// Whole pages around the records; each goes to a place of its own.
ReadOrder order_of(int64_t first, int64_t count, char *to) {
  const int64_t begin = first * RECORD / FLASH_PAGE * FLASH_PAGE;
  const int64_t end = ((first + count) * RECORD + FLASH_PAGE - 1) / FLASH_PAGE * FLASH_PAGE;
  ReadOrder order{0, begin, end - begin, {}};
  for (int64_t i = 0; i < count; ++i)
    order.copies.push_back({(first + i) * RECORD - begin, RECORD, to + i * RECORD});
  return order;
}

struct Wanted {
  std::vector<int64_t> records;
  std::string bytes;
  uint64_t number = 0;
};

void submit(IoPool &pool, const std::string &line, Wanted &wanted, bool ahead = false) {
  std::istringstream words(line);
  std::vector<std::pair<int64_t, int64_t>> runs;
  for (int64_t first, count; words >> first >> count;) runs.emplace_back(first, count);
  for (const auto &[first, count] : runs)
    for (int64_t i = 0; i < count; ++i) wanted.records.push_back(first + i);
  wanted.bytes.resize(wanted.records.size() * RECORD);
  Batch batch;
  char *to = wanted.bytes.data();
  for (const auto &[first, count] : runs) {
    batch.push_back(order_of(first, count, to));
    to += count * RECORD;
  }
  wanted.number = ahead ? pool.submit_ahead(std::move(batch)) : pool.submit(std::move(batch));
}

std::string failed(const Failure &failure) {
  return Record()
      .add("what", failure.what())
      .add("because", failure.because)
      .add("hint", failure.hint)
      .text();
}

std::string answer(IoPool &pool, const Wanted &wanted) {
  try {
    pool.wait(wanted.number);
  } catch (const Failure &failure) {
    return failed(failure);
  }
  for (size_t i = 0; i < wanted.bytes.size(); ++i)
    if (static_cast<unsigned char>(wanted.bytes[i]) != (wanted.records[i / RECORD] & 255))
      return "wrong byte " + std::to_string(i);
  return "right";
}

std::string facts(const IoPool &pool, const RecordStore &store, double seconds) {
  const IoCounts counts = pool.counts();
  std::string sizes;
  for (const auto &[bytes, count] : counts.sizes)
    sizes += (sizes.empty() ? "" : ", ") + quote(std::to_string(bytes)) + ": " +
             std::to_string(count);
  return Record()
      .add_flag("direct", store.direct())
      .add("reads", counts.reads)
      .add("read", counts.read)
      .add("used", counts.used)
      .add("late_share", counts.late_share)
      .add("seconds", seconds)
      .raw("sizes", "{" + sizes + "}")
      .text();
}

std::optional<FlashModel> flash_of(double seconds) {
  if (seconds == 0) return std::nullopt;
  return FlashModel(seconds, 1e12);
}

void read(const std::string &path, const std::string &way, size_t threads, double seconds) {
  const Plan plan = plan_of(path);
  const RecordStore store(plan, way == "storage" ? RecordStore::Way::Storage
                                                 : RecordStore::Way::Cached);
  IoPool pool(store, threads, 1 << 20, flash_of(seconds));
  puts("open");  // a test may now do something to the file
  fflush(stdout);
  const double start = now();
  std::deque<Wanted> batches;
  for (std::string line; std::getline(std::cin, line) && !line.empty();)
    submit(pool, line, batches.emplace_back());
  for (const Wanted &each : batches) puts(answer(pool, each).c_str());
  puts(facts(pool, store, now() - start).c_str());
}

void cancel(const std::string &path) {
  const Plan plan = plan_of(path);
  const RecordStore store(plan, RecordStore::Way::Cached);
  std::deque<Wanted> batches(20);  // longer than the pool: it cancels what is left
  IoPool pool(store, 3, 1 << 20, FlashModel(0.02, 1e12));
  for (Wanted &each : batches) submit(pool, "0 64 100 64", each);
  puts(answer(pool, batches[0]).c_str());
  pool.cancel();
  for (Wanted &each : batches) each.bytes.assign(each.bytes.size(), 'x');  // nobody writes there
  puts(answer(pool, batches[19]).c_str());
  submit(pool, "1 1", batches[0] = {});
  puts(answer(pool, batches[0]).c_str());  // and it goes on
  submit(pool, "1 1", batches[1] = {});
}

void aside(const std::string &path) {
  const Plan plan = plan_of(path);
  const RecordStore store(plan, RecordStore::Way::Cached);
  std::deque<Wanted> batches(4);
  IoPool pool(store, 2, 1 << 20, std::nullopt);
  const auto done = [&](size_t at, const std::string &runs, bool ahead) {
    submit(pool, runs, batches[at], ahead);
    puts(answer(pool, batches[at]).c_str());
  };
  done(0, "0 64", false);
  pool.set_aside(true);
  done(1, "100 64 300 64", true);
  done(2, "500 64 700 64 900 64", false);
  pool.set_aside(false);
  done(3, "2000 1", true);
  const IoCounts counts = pool.counts();
  puts(Record()
           .add("reads", counts.reads)
           .add("read", counts.read)
           .add("ahead_reads", counts.ahead_reads)
           .add("ahead_read", counts.ahead_read)
           .text()
           .c_str());
}

void imitate() {
  Imitation imitation(FlashModel(0, 1));
  std::string word;
  for (double now, value; std::cin >> word >> now >> value;) {
    double out = imitation.late_share();
    if (word == "submit") out = imitation.submit(now, value);
    if (word == "left") out = imitation.left(now, value);
    if (word == "finish") {
      imitation.finish(now, value);
      out = imitation.late_share();
    }
    printf("%.9f\n", out);
  }
}

}  // namespace

int main(int count, char **words) {
  const std::string mode = count > 1 ? words[1] : "";
  try {
    if (mode == "read" && count == 6)
      read(words[2], words[3], std::stoul(words[4]), std::stod(words[5]));
    if (mode == "cancel" && count == 3) cancel(words[2]);
    if (mode == "aside" && count == 3) aside(words[2]);
    if (mode == "imitate") imitate();
  } catch (const Failure &failure) {
    puts(failed(failure).c_str());
    return 1;
  }
  return 0;
}
