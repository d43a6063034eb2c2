#include "waves/thread_waves.h"

#include <algorithm>
#include <cstring>

#include "base/failure.h"
#include "waves/cores.h"

namespace pocket {

void Wave::wait() const {
  std::unique_lock<std::mutex> held(mutex_);
  ended_.wait(held, [&] { return left_ == 0; });
}

bool Wave::done() const {
  const std::lock_guard<std::mutex> held(mutex_);
  return left_ == 0;
}

ThreadWaves::ThreadWaves(size_t threads) : cores_(fast_cores()) {
  const size_t known = std::max<size_t>(1, cores_.size());
  const size_t wanted = std::min(SHARES, threads ? threads : known);
  for (size_t i = 0; i < wanted; ++i) {
    workers_.push_back({this, i, {}, {}});
    const int code = pthread_create(&workers_.back().thread, nullptr, start, &workers_.back());
    if (code == 0) continue;
    workers_.pop_back();
    if (i > 0) return;  // fewer do it, too
    throw Failure("no thread can be started to compute", strerror(code),
                  "end other programs, or --engine device");
  }
}

ThreadWaves::~ThreadWaves() {
  {
    const std::lock_guard<std::mutex> held(mutex_);
    closed_ = true;
    given_.notify_all();
  }
  for (const Worker &worker : workers_) pthread_join(worker.thread, nullptr);
}

void *ThreadWaves::start(void *worker) {
  Worker &own = *static_cast<Worker *>(worker);
  keep_to(own.waves->cores_);
  own.waves->work(own);
  return nullptr;
}

void ThreadWaves::begin(const NeuronSums &neurons, const UnitInputs &inputs) {
  const size_t width = neurons.width();
  neurons_ = &neurons;
  inputs_ = &inputs;
  rows_.resize(inputs.rows * width);
  for (size_t row = 0; row < inputs.rows; ++row)
    neurons.part().arrange(inputs.x.data() + row * neurons.length(), rows_.data() + row * width);
  sums_.assign(SHARES * inputs.rows * width, 0.0f);
}

std::shared_ptr<const Wave> ThreadWaves::launch(std::vector<WaveRecord> records) {
  const auto wave = std::make_shared<Wave>();
  wave->records_ = std::move(records);
  wave->left_ = workers_.size();
  under_way_.push_back(wave);
  const std::lock_guard<std::mutex> held(mutex_);
  for (Worker &worker : workers_) worker.given.push_back(wave);
  given_.notify_all();
  return wave;
}

std::vector<float> ThreadWaves::end() {
  for (const auto &wave : under_way_) wave->wait();
  under_way_.clear();
  const size_t rows = inputs_->rows, width = neurons_->width(), length = neurons_->length();
  std::vector<float> sums(rows * length);
  for (size_t share = 0; share < SHARES; ++share)
    for (size_t row = 0; row < rows; ++row)
      neurons_->part().restore(sums_.data() + (share * rows + row) * width,
                               sums.data() + row * length);
  return sums;
}

void ThreadWaves::work(Worker &worker) {
  std::unique_lock<std::mutex> held(mutex_);
  while (true) {
    given_.wait(held, [&] { return closed_ || !worker.given.empty(); });
    if (worker.given.empty()) return;
    const std::shared_ptr<Wave> wave = std::move(worker.given.front());
    worker.given.pop_front();
    held.unlock();
    compute(worker.number, *wave);
    {
      const std::lock_guard<std::mutex> its(wave->mutex_);
      if (--wave->left_ == 0) wave->ended_.notify_all();
    }
    held.lock();
  }
}

// The shares of one thread: always the same, so that nobody waits for another's.
void ThreadWaves::compute(size_t worker, const Wave &wave) {
  const size_t count = wave.records_.size(), each = inputs_->rows * neurons_->width();
  for (size_t share = worker; share < SHARES; share += workers_.size()) {
    const size_t first = share * count / SHARES, end = (share + 1) * count / SHARES;
    neurons_->add(wave.records_.data() + first, end - first, *inputs_, rows_,
                  sums_.data() + share * each);
  }
}

}  // namespace pocket
