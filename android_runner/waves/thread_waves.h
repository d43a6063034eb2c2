// Threads that compute records of a gather, each as it is given them. Whatever the timing, sums are
// the same: records have fixed shares, and shares are added in their order.
#pragma once
#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "waves/neuron_sums.h"

namespace pocket {

// Records that were given together.
class Wave {
 public:
  void wait() const;  // until they are computed
  bool done() const;

 private:
  friend class ThreadWaves;
  std::vector<WaveRecord> records_;
  size_t left_;  // threads
  mutable std::mutex mutex_;
  mutable std::condition_variable ended_;
};

class ThreadWaves {
 public:
  static constexpr size_t SHARES = 8;  // of the records of a wave: as many threads at most

  // Throws Failure where a thread can't be started. 0: as many as there are fast cores, or one.
  explicit ThreadWaves(size_t threads = 0);
  ThreadWaves(const ThreadWaves &) = delete;
  ThreadWaves &operator=(const ThreadWaves &) = delete;
  ~ThreadWaves();

  size_t threads() const { return workers_.size(); }
  size_t bytes() const { return sizeof(float) * (rows_.capacity() + sums_.capacity()); }

  // The sums of another gather begin; both stay until `end`.
  void begin(const NeuronSums &neurons, const UnitInputs &inputs);
  // Their bytes stay until the wave is done.
  std::shared_ptr<const Wave> launch(std::vector<WaveRecord> records);
  // Waits for all of them: f32 [rows][length].
  std::vector<float> end();

 private:
  struct Worker {
    ThreadWaves *waves;
    size_t number;
    pthread_t thread;
    std::deque<std::shared_ptr<Wave>> given;
  };
  static void *start(void *worker);
  void work(Worker &worker);
  void compute(size_t worker, const Wave &wave);

  const std::vector<size_t> cores_;
  std::mutex mutex_;  // of what workers are given
  std::condition_variable given_;
  bool closed_ = false;
  const NeuronSums *neurons_ = nullptr;
  const UnitInputs *inputs_ = nullptr;
  std::vector<float> rows_, sums_;  // x, and [SHARES][rows] sums: as parts have their numbers
  std::vector<std::shared_ptr<const Wave>> under_way_;
  std::deque<Worker> workers_;
};

}  // namespace pocket
