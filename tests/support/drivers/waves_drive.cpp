// Computes a wave of records with threads; tests/runner/test_waves.py says what is expected.
//
//   waves_drive FILE GATE ACT UP_ACT BIASES ROWS F PARTS LENGTH DTYPE GROUP ZERO PART RECORD SLOTS
//               COUNT EACH THREADS
//
// FILE has slots, then ticket pairs i32[COUNT][2], x f32[ROWS][LENGTH], where GATE is given v
// f32[ROWS][F], and where BIASES has 1 and 2 those of gate and up, f32[F]. Waves are of EACH records;
// sums come as f32[ROWS][LENGTH] on stdout. Other functions than known ones: exit code 3.
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/files.h"
#include "waves/thread_waves.h"

// NO_CORES: the system tells of no cores, and whoever keeps to one all the same ends the program.
extern "C" int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) noexcept {
  if (getenv("NO_CORES")) return -1;
  return syscall(SYS_sched_getaffinity, process, size, set) < 0 ? -1 : 0;
}

extern "C" int sched_setaffinity(pid_t, size_t, const cpu_set_t *) noexcept {
  if (getenv("NO_CORES")) _exit(4);
  return -1;
}

namespace {

using namespace pocket;

class Reader {
 public:
  explicit Reader(const std::string &path) : content_(read_file(path)) {}
  const char *bytes(size_t count) {
    at_ += count;
    return content_.data() + at_ - count;
  }
  std::vector<float> floats(size_t count) {
    std::vector<float> found(count);
    memcpy(found.data(), bytes(count * sizeof(float)), count * sizeof(float));
    return found;
  }

 private:
  const std::string content_;
  size_t at_ = 0;
};

Unit::Gate gate_called(const std::string &word) {
  return word == "none" ? Unit::None : word == "part" ? Unit::Part : Unit::Given;
}

Table table_of(char **words) {
  Table table{};
  table.count = atoll(words[0]);
  const int64_t bytes = atoll(words[6]);
  table.bytes = atoll(words[7]);
  for (int64_t i = 0; i < atoll(words[1]); ++i)
    table.parts.push_back({"", i * bytes, bytes, words[3], atoll(words[2]), atoll(words[4]),
                           atoll(words[5]) != 0});
  return table;
}

}  // namespace

int main(int, char **words) {
  const auto act = Activation::read(words[3]), up_act = Activation::read(words[4]);
  if (!act || !up_act) return 3;
  const Unit unit{gate_called(words[2]), *act, *up_act, 0, 0, {}, {}, {}};
  const Table table = table_of(words + 7);
  const auto number = [&](int i) { return static_cast<size_t>(atoll(words[i])); };
  const size_t biases = number(5), rows = number(6), slots = number(15), count = number(16);
  const size_t each = number(17), all = static_cast<size_t>(table.count);
  Reader reader(words[1]);
  const char *const records = reader.bytes(slots * static_cast<size_t>(table.bytes));
  std::vector<int32_t> pairs(2 * count);
  memcpy(pairs.data(), reader.bytes(8 * count), 8 * count);
  const NeuronSums neurons(table, unit);
  UnitInputs inputs;
  inputs.rows = rows;
  inputs.x = reader.floats(rows * neurons.length());
  if (unit.gate == Unit::Given) inputs.given = reader.floats(rows * all);
  const std::vector<float> gate = reader.floats(biases & 1 ? all : 0);
  const std::vector<float> up = reader.floats(biases & 2 ? all : 0);
  inputs.gate_bias = biases & 1 ? gate.data() : nullptr;
  inputs.up_bias = biases & 2 ? up.data() : nullptr;
  ThreadWaves waves(number(18));
  std::vector<float> sums;
  for (int turn = 0; turn < 2; ++turn) {  // the second begins at 0 as well
    waves.begin(neurons, inputs);
    for (size_t at = 0; at < count; at += each) {
      std::vector<WaveRecord> wave;
      for (size_t i = at; i < std::min(count, at + each); ++i)
        wave.push_back({records + pairs[2 * i] * table.bytes, pairs[2 * i + 1]});
      waves.launch(std::move(wave));
    }
    sums = waves.end();
  }
  fwrite(sums.data(), sizeof(float), sums.size(), stdout);
  return 0;
}
