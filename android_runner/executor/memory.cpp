#include "executor/memory.h"

#include <algorithm>

#include "base/failure.h"
#include "executor/memory_needs.h"

namespace pocket {
namespace {

constexpr size_t UPLOAD = 16 << 20;  // bytes at a time

// A phase's buffer may be smaller than the plan's largest one, and still is whole texels.
int64_t whole_texels(int64_t bytes) { return (bytes + TEXEL - 1) / TEXEL * TEXEL; }

}  // namespace

Memory::Memory(const Plan &plan, const Device &device, const std::vector<const Phase *> &phases,
               int64_t slots) {
  if (plan.align % device.facts().align)
    throw Failure("the plan does not fit this device",
                  "its buffers lie at multiples of " + std::to_string(plan.align) + " bytes, " +
                      device.facts().name + " needs " + std::to_string(device.facts().align),
                  "compile the model for this device");
  sizes_ = buffer_sizes(plan, phases);
  for (const Phase *phase : phases) arena_bytes = std::max(arena_bytes, phase->arena_bytes);
  check_room(needs_of(plan, sizes_, arena_bytes, slots), device.facts(),
             maps_weights(plan, device.facts()));
  load_weights(plan, device);
  make_buffers(plan, device);
  if (arena_bytes) arena_ = device.buffer(arena_bytes, "the scratch memory");
  symbols_ = device.buffer(sizeof(cl::Int) * std::max<size_t>(plan.slots(), 1), "the symbols");
  device.wait();
}

void Memory::load_weights(const Plan &plan, const Device &device) {
  shards_.resize(plan.files.size());
  for (const Weight &weight : plan.weights) {
    if (!shards_[weight.file]) shards_[weight.file] = load_shard(plan, device, weight.file);
    weights_.push_back(sub_buffer(shards_[weight.file], weight.offset, weight.bytes));
    weight_bytes += weight.bytes;
  }
}

// The device gets the mapping itself where it may; else what is read into memory that both share, or
// a copy of the mapping, which goes.
cl::Owned<cl::Memory> Memory::load_shard(const Plan &plan, const Device &device, size_t file) {
  const std::string &name = plan.files[file].path, path = plan.path(file);
  const auto bytes = static_cast<size_t>(plan.files[file].bytes);
  const bool maps = maps_weights(plan, device.facts());
  if (device.facts().unified && !maps) {
    auto filled = device.buffer_of_file(path, bytes, name);
    if (filled) return filled;
  }
  MappedFile mapped(path, bytes);
  if (maps) {
    auto buffer = device.buffer(mapped.size(), name, mapped.data());
    files_.push_back(std::move(mapped));
    return buffer;
  }
  auto buffer = device.buffer(mapped.size(), name);
  for (size_t at = 0; at < mapped.size(); at += UPLOAD)
    device.write(buffer.get(), at, mapped.data() + at, std::min(UPLOAD, mapped.size() - at));
  return buffer;
}

void Memory::make_buffers(const Plan &plan, const Device &device) {
  for (size_t i = 0; i < sizes_.size(); ++i) {
    buffers_.push_back(device.buffer(whole_texels(sizes_[i]), "the buffer " + plan.buffers[i].name));
    if (plan.buffers[i].kind == "state") state_bytes += sizes_[i];
  }
  clear(device);
}

void Memory::clear(const Device &device) const {
  for (size_t i = 0; i < buffers_.size(); ++i) device.fill_zero(buffers_[i].get(), sizes_[i]);
  device.wait();
}

cl::Memory Memory::around(const Plan &plan, const Argument &argument) const {
  if (argument.kind == Argument::Scratch) return arena_.get();
  if (argument.kind == Argument::Buffer) return buffers_[argument.index].get();
  return shards_[plan.weights[argument.index].file].get();
}

int64_t Memory::bytes_around(const Plan &plan, const Argument &argument) const {
  if (argument.kind == Argument::Scratch) return arena_bytes;
  if (argument.kind == Argument::Buffer) return whole_texels(sizes_[argument.index]);
  return plan.files[plan.weights[argument.index].file].bytes;
}

cl::Int Memory::make_images(const Plan &plan, const Device &device, const Step &step,
                            const Variant &variant) const {
  for (const size_t number : variant.images) {
    const Argument &argument = step.args[number];
    const cl::Memory whole = around(plan, argument);
    if (images_.count(whole)) continue;
    const auto texels = static_cast<size_t>(bytes_around(plan, argument) / TEXEL);
    cl::Int code = 0;
    cl::Owned<cl::Memory> made = device.image(whole, texels, code);
    if (code != 0) return code;
    images_[whole] = std::move(made);
  }
  return 0;
}

cl::Memory Memory::image(const Plan &plan, const Argument &argument) const {
  return images_.at(around(plan, argument)).get();
}

cl::Owned<cl::Memory> Memory::scratch(const Scratch &scratch) const {
  return sub_buffer(arena_, scratch.offset, scratch.bytes);
}

}  // namespace pocket
