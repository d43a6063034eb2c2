#include "probe/probe.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/failure.h"
#include "base/files.h"
#include "base/os.h"
#include "opencl/cl_library.h"
#include "opencl/linker.h"

namespace pocket {
namespace {

constexpr double PART_S = 60;  // a part that takes longer hangs: a good one takes two to five

std::string failed(const std::string &error, const std::string &because) {
  return Record().add("error", error).add("because", because).text();
}

std::string guarded(const std::function<std::string()> &part) try {
  return part();
} catch (const Failure &failure) {
  return failed(failure.what(), failure.because);
} catch (const std::bad_alloc &) {
  return failed("out of memory", "the system gave no more");
} catch (const std::exception &error) {
  return failed("the runner failed", error.what());
}

// False when the time is over before the child has said everything.
bool receive(int pipe, std::string &text) {
  const double end = now() + PART_S;
  char piece[4096];
  for (double left = PART_S; left > 0; left = end - now()) {
    pollfd ready = {pipe, POLLIN, 0};
    if (poll(&ready, 1, static_cast<int>(1000 * left) + 1) <= 0) continue;
    const ssize_t got = read(pipe, piece, sizeof piece);
    if (got <= 0) return true;
    text.append(piece, static_cast<size_t>(got));
  }
  return false;
}

std::string exit_reason(int status) {
  if (!WIFSIGNALED(status)) return "exit code " + std::to_string(WEXITSTATUS(status));
  const int number = WTERMSIG(status);
  const std::string name = "killed by signal " + std::to_string(number);
  if (number == SIGKILL) return name + ": the system took its memory back";
  return number == SIGSEGV || number == SIGABRT ? name + ": the driver crashed" : name;
}

std::string in_child(const std::function<std::string()> &part) {
  int ends[2];
  if (pipe(ends) != 0) return failed("the part can't be run", strerror(errno));
  const pid_t child = fork();
  if (child < 0) return failed("the part can't be run", strerror(errno));
  if (child == 0) {
    close(ends[0]);
    const std::string text = guarded(part);
    size_t done = 0;
    while (done < text.size()) {
      const ssize_t put = write(ends[1], text.data() + done, text.size() - done);
      if (put <= 0) break;
      done += static_cast<size_t>(put);
    }
    _exit(done == text.size() ? 0 : 1);  // no destructors: a driver may hang in them
  }
  close(ends[1]);
  std::string text;
  const bool whole = receive(ends[0], text);
  if (!whole) kill(child, SIGKILL);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!whole) return failed("no answer", "it took more than a minute");
  return status == 0 ? text : failed("the part died", exit_reason(status));
}

}  // namespace

const char *const PROBE_DEFINES =
    "#define LANES 1\n#define COUNT 128L\n#define REPEATS 1\n#define PREFETCH 0\n"
    "#define STRIDE 1024\n";

Summary summary(std::vector<double> values) {
  if (values.empty()) return {};
  for (auto at = values.begin(); at != values.end(); ++at)  // few, and std::sort is 4 KB of code
    std::rotate(std::upper_bound(values.begin(), at, *at), at, at + 1);
  const auto at = [&](double share) {  // between the two nearest, as numpy's quantile
    const double place = share * static_cast<double>(values.size() - 1);
    const auto low = static_cast<size_t>(place);
    const size_t high = std::min(low + 1, values.size() - 1);
    return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
  };
  return {at(0.5), (at(0.9) - at(0.1)) / at(0.5), values.size()};
}

std::vector<double> sample(const std::function<double()> &once, double limit_s, size_t enough) {
  std::vector<double> found;
  once();  // wakes the device, and the driver's code for this size of launch
  const double end = now() + limit_s;
  while (found.size() < 3 || (found.size() < enough && now() < end)) found.push_back(once());
  return found;
}

Bench::Bench(const ProbeOptions &options, bool profiling)
    : library_(cl::load(options.library)),
      device_(options.platform, "generic", profiling),
      source_(read_file(options.source)) {}

uint64_t Bench::limit(cl::Uint key) const {
  uint64_t value = 0;  // answers of 4 bytes leave the upper half 0: every device is little-endian
  size_t size = 0;
  const cl::Int code = cl::GetDeviceInfo(device_.facts().id, key, sizeof value, &value, &size);
  return code == 0 && size <= sizeof value ? value : 0;
}

cl::Owned<cl::Kernel> Bench::kernel(const std::string &defines, const char *name) {
  cl::Int code = 0;
  if (!program_ || defines != defines_) {
    check_linker(device_.facts());
    const std::string text = defines + source_;
    const char *start = text.data();
    const size_t size = text.size();
    defines_ = defines;
    program_ = cl::Owned<cl::Program>(
        cl::CreateProgramWithSource(device_.context(), 1, &start, &size, &code));
    cl::check(code, "clCreateProgramWithSource");
    cl::check(cl::BuildProgram(program_.get(), 1, &device_.facts().id, "", nullptr, nullptr),
              "clBuildProgram");
  }
  cl::Owned<cl::Kernel> found(cl::CreateKernel(program_.get(), name, &code));
  cl::check(code, "clCreateKernel");
  return found;
}

void Bench::launch(cl::Kernel kernel, size_t items, size_t local) const {
  cl::check(
      cl::EnqueueNDRangeKernel(queue(), kernel, 1, nullptr, &items, &local, 0, nullptr, nullptr),
      "clEnqueueNDRangeKernel");
}

void Bench::finish() const { cl::check(cl::Finish(queue()), "clFinish"); }

double Bench::seconds(cl::Kernel kernel, size_t items, size_t local) const {
  cl::Event handle = nullptr;
  const double begun = now();
  cl::check(
      cl::EnqueueNDRangeKernel(queue(), kernel, 1, nullptr, &items, &local, 0, nullptr, &handle),
      "clEnqueueNDRangeKernel");
  const cl::Owned<cl::Event> event(handle);
  finish();
  const double outside = now() - begun;
  uint64_t start = 0, end = 0;
  const bool measured =
      cl::GetEventProfilingInfo(handle, cl::PROFILING_START, 8, &start, nullptr) == 0 &&
      cl::GetEventProfilingInfo(handle, cl::PROFILING_END, 8, &end, nullptr) == 0 && end > start;
  const double inside = 1e-9 * static_cast<double>(end - start);
  return measured && inside > 0.5 * outside && inside < outside ? inside : outside;
}

void set_buffer(cl::Kernel kernel, cl::Uint index, cl::Memory memory) {
  cl::check(cl::SetKernelArg(kernel, index, sizeof memory, &memory), "clSetKernelArg");
}

std::string probe(const ProbeOptions &options) {
  const struct {
    const char *name;
    std::function<std::string()> run;
  } parts[] = {
      {"cores", probe_cores},
      {"device", [&] { return probe_limits(options); }},
      {"read", [&] { return probe_read(options); }},
      {"multiply_add_f32", [&] { return probe_multiply_add(options, false); }},
      {"multiply_add_f16", [&] { return probe_multiply_add(options, true); }},
      {"launch", [&] { return probe_launch(options); }},
      {"alignment", [&] { return probe_alignment(options); }},
      {"host", [&] { return probe_host(options); }},
      {"allocation", [&] { return probe_allocation(options); }},
      {"flash", [&] { return probe_flash(options); }},
  };
  const double start = now();
  Record found;
  for (const auto &part : parts) found.raw(part.name, in_child(part.run));
  return found.add("seconds", now() - start).text();
}

}  // namespace pocket
