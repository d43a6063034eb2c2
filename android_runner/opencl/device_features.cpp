// What was an extension becomes part of OpenCL and then loses its name, and vendors have names of
// their own. The Python executor has the same rules (toolkit/devices/features.py); one list of
// reports is held against both (tests/runner/device_reports.json).
#include "opencl/device_features.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/text.h"
#include "opencl/cl_info.h"

namespace pocket {
namespace {

// Names of extensions and of features of OpenCL C 3.0, each of which brings the built-in functions
// of a feature of ours. Not among them: cl_qcom_dot_product8, whose operands have other signs.
// Shuffles go with sub-groups: a driver that has none of these has no numbers of their work-items.
// They also mean sub-groups of 16 at least, which only built kernels have: see device_fit.cpp.
const struct {
  const char *name, *feature;
} NAMES[] = {
    {"cl_khr_fp16", "fp16"},
    {"cl_khr_subgroups", "subgroups"},
    {"cl_intel_subgroups", "subgroups"},
    {"__opencl_c_subgroups", "subgroups"},
    {"cl_khr_subgroup_shuffle", "shuffles"},
    {"cl_intel_subgroups", "shuffles"},
    {"cl_qcom_subgroup_shuffle", "shuffles"},
    {"cl_khr_integer_dot_product", "int_dot"},
    {"__opencl_c_integer_dot_product_input_4x8bit", "int_dot"},
    {"__opencl_c_integer_dot_product_input_4x8bit_packed", "int_dot"},
    {"cl_arm_integer_dot_product_int8", "int_dot"},
    {"cl_arm_integer_dot_product_accumulate_int8", "int_dot"},
};

struct NameVersion {  // cl_name_version
  uint32_t version;
  char name[64];
};

std::vector<NameVersion> language_features(cl::Device id) {
  size_t size = 0;
  if (cl::GetDeviceInfo(id, cl::DEVICE_OPENCL_C_FEATURES, 0, nullptr, &size) != 0) return {};
  std::vector<NameVersion> found(size / sizeof(NameVersion));
  size = found.size() * sizeof(NameVersion);
  const bool answered = size && cl::GetDeviceInfo(id, cl::DEVICE_OPENCL_C_FEATURES, size,
                                                  found.data(), nullptr) == 0;
  return answered ? found : std::vector<NameVersion>();
}

// The names of both lists.
std::set<std::string> names(cl::Device id) {
  std::set<std::string> found;
  for (std::string &name : pieces(cl::info_text(cl::GetDeviceInfo, id, cl::DEVICE_EXTENSIONS), " "))
    found.insert(std::move(name));
  if (opencl_version(id) >= 30)
    for (const NameVersion &entry : language_features(id))
      found.emplace(entry.name, std::find(entry.name, entry.name + sizeof entry.name, '\0'));
  return found;
}

}  // namespace

int opencl_version(cl::Device id) {
  int major = 0, minor = 0;
  const std::string text = cl::info_text(cl::GetDeviceInfo, id, cl::DEVICE_VERSION);
  return sscanf(text.c_str(), "OpenCL %d.%d", &major, &minor) == 2 ? 10 * major + minor : 0;
}

std::set<std::string> device_features(cl::Device id) {
  const std::set<std::string> said = names(id);
  std::set<std::string> found;
  for (const auto &known : NAMES)
    if (said.count(known.name)) found.insert(known.feature);
  if (opencl_version(id) >= 30 && cl::info_if_known<cl::Bits>(id, cl::DEVICE_HALF_FP_CONFIG))
    found.insert("fp16");
  if (opencl_version(id) >= 21 && cl::info_if_known<cl::Uint>(id, cl::DEVICE_MAX_NUM_SUB_GROUPS))
    found.insert("subgroups");
  if (!found.count("subgroups")) found.erase("shuffles");
  const bool images = cl::CreateImage && cl::info<cl::Uint>(id, cl::DEVICE_IMAGE_SUPPORT);
  if (images) found.insert("images");
  return found;
}

}  // namespace pocket
