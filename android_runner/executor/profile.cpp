#include "executor/profile.h"

#include "base/json.h"

namespace pocket {
namespace {

int64_t time_of(cl::Event event, cl::Uint what) {
  uint64_t nanoseconds = 0;
  cl::check(cl::GetEventProfilingInfo(event, what, sizeof nanoseconds, &nanoseconds, nullptr),
            "clGetEventProfilingInfo");
  return static_cast<int64_t>(nanoseconds);
}

}  // namespace

void Profile::begin(const std::string &phase) { runs_.push_back(phase); }

void Profile::add(const Step &step, const std::string &kernel, cl::Event event) {
  entries_.push_back({runs_.size() - 1, kernel, &step, cl::Owned<cl::Event>(event)});
}

std::string Profile::json() const {
  std::string list;
  for (const Entry &entry : entries_) {
    const cl::Event event = entry.event.get();
    list += (list.empty() ? "" : ",\n") +
            Record()
                .add("run", static_cast<int64_t>(entry.run))
                .add("phase", runs_[entry.run])
                .add("name", entry.step->name)
                .add("kernel", entry.kernel)
                .add("queued", time_of(event, cl::PROFILING_QUEUED))
                .add("submitted", time_of(event, cl::PROFILING_SUBMIT))
                .add("started", time_of(event, cl::PROFILING_START))
                .add("ended", time_of(event, cl::PROFILING_END))
                .text();
  }
  return "[" + list + "]\n";
}

}  // namespace pocket
