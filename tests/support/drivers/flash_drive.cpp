// Gathers records of a plan by the runner's machine, store and pool, and checks each byte of each
// launch against the file; tests/runner/test_flash_reads.py says what is expected.
//
//   flash_drive PLAN MEMORY THREADS     MEMORY: of the point, 0: the one that takes most
//
// Lines on stdin, an answer for each:
//   gather TABLE THRESHOLD SEED      the trace, where all records came, else the error
//   memory BYTES                     another point; ok
//   warm FOLDER                      of the warm set that lies there, the records of each table
//   keep FOLDER                      what is in slots now is written there; ok
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <random>
#include <sstream>
#include <string>

#include "base/files.h"
#include "base/json.h"
#include "gather/warm_set.h"
#include "offload/access_trace.h"
#include "offload/cluster_reads.h"
#include "offload/flash_tables.h"
#include "offload/points.h"

namespace {

using namespace pocket;

std::optional<int64_t> limit(int64_t memory) {
  return memory ? std::optional(memory) : std::nullopt;
}

class Flash {
 public:
  Flash(const std::string &folder, int64_t memory, size_t threads)
      : plan_(load_plan(folder)),
        machine_(plan_.tables, orders_of(plan_), FlashModel(0, 1e9)),
        store_(plan_, RecordStore::Way::Storage),
        slots_(plan_.tables.size()),
        pool_(store_, threads, choose_point(plan_, {}).max_read) {
    for (const Table &table : plan_.tables) {
      const std::string content = read_file(plan_.path(table.file));
      files_.push_back(content.substr(table.offset, table.count * table.stride));
    }
    use(memory);
  }

  void use(int64_t memory) {
    const std::vector<Change> changes = machine_.change(choose_point(plan_, limit(memory)));
    for (size_t i = 0; i < changes.size(); ++i) {
      const Table &table = plan_.tables[i];
      std::string old = slots_[i];
      slots_[i].resize(machine_.cache(i).slots() * table.bytes, '?');
      for (const Resize::Move &move : changes[i].resize.moved)
        slots_[i].replace(move.to * table.bytes, table.bytes, old, move.from * table.bytes,
                          table.bytes);
      pool_.wait(pool_.submit(reads_of(table, changes[i], slots_[i].data())));
    }
  }

  std::string warm(const std::string &folder) const {
    std::string lists;
    for (const std::vector<int32_t> &records : WarmSet(plan_, folder).read()) {
      std::string list;
      for (const int32_t record : records)
        list += (list.empty() ? "" : ",") + std::to_string(record);
      lists += (lists.empty() ? "[" : ",[") + list + "]";
    }
    return "[" + lists + "]";
  }

  void keep(const std::string &folder) const { WarmSet(plan_, folder).write(machine_); }

  std::string gather(size_t number, double threshold, uint32_t seed) {
    const Table &table = plan_.tables[number];
    std::mt19937 dice(seed);
    std::vector<float> scores(table.count);
    for (float &score : scores) score = static_cast<float>(dice() % 1000) / 1000;
    Select rule;
    rule.by = Select::Above;
    rule.threshold = threshold;
    const Gathered found = machine_.gather(number, rule, {scores.data()}, ++step_);
    try {
      launch(number, found);
    } catch (const Failure &) {
      std::vector<int32_t> lost;
      for (const Placed &each : found.placed.admitted) lost.push_back(each.record);
      machine_.lose(number, lost);
      throw;
    }
    return trace_line(step_, 0, found);
  }

 private:
  // All clusters are under way at once, each with a place of its own for what is streamed.
  void launch(size_t number, const Gathered &found) {
    const Table &table = plan_.tables[number];
    const size_t most = static_cast<size_t>(machine_.point().cluster * table.bytes);
    std::vector<std::string> staging(found.clusters.size(), std::string(most, '?'));
    std::vector<uint64_t> batches;
    for (size_t i = 0; i < found.clusters.size(); ++i)
      batches.push_back(pool_.submit(reads_of(table, found, found.clusters[i],
                                              slots_[number].data(), staging[i].data())));
    std::optional<Failure> failure;
    for (size_t i = 0; i < batches.size(); ++i) try {
        pool_.wait(batches[i]);
        for (const GatherLaunch &launch : found.clusters[i].launches)
          check(number, launch, launch.staged ? staging[i] : slots_[number]);
      } catch (const Failure &each) {
        if (!failure) failure = each;
      }
    if (failure) throw *failure;
  }

  void check(size_t number, const GatherLaunch &launch, const std::string &memory) const {
    const Table &table = plan_.tables[number];
    for (const Placed &each : launch.records)
      if (memory.compare(each.slot * table.bytes, table.bytes, files_[number],
                         each.record * table.stride, table.bytes) != 0)
        throw Failure("record " + std::to_string(each.record) + " is another", "stale", "none");
  }

  const Plan plan_;
  Machine machine_;
  const RecordStore store_;
  std::vector<std::string> slots_, files_;  // of each table; the files as they were at first
  IoPool pool_;
  int64_t step_ = 0;
};

std::string answer(Flash &flash, const std::string &line) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "memory") {
    int64_t bytes = 0;
    words >> bytes;
    flash.use(bytes);
    return "ok";
  }
  if (verb == "warm" || verb == "keep") {
    std::string folder;
    words >> folder;
    if (verb == "warm") return flash.warm(folder);
    flash.keep(folder);
    return "ok";
  }
  size_t table = 0;
  double threshold = 0;
  uint32_t seed = 0;
  words >> table >> threshold >> seed;
  return flash.gather(table, threshold, seed);
}

void say(const std::string &line) {
  puts(line.c_str());
  fflush(stdout);
}

std::string told(const Failure &failure) {
  return Record()
      .add("what", failure.what())
      .add("because", failure.because)
      .add("hint", failure.hint)
      .text();
}

}  // namespace

int main(int, char **words) {
  try {
    Flash flash(words[1], std::stoll(words[2]), std::stoul(words[3]));
    for (std::string line; std::getline(std::cin, line);) try {
        say(answer(flash, line));
      } catch (const Failure &failure) {
        say(told(failure));
      }
  } catch (const Failure &failure) {
    say(told(failure));
    return 1;
  }
  return 0;
}
