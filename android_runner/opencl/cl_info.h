// What a device or a platform says of itself.
#pragma once
#include <cctype>
#include <string>

#include "opencl/cl_api.h"

namespace cl {

// Empty where it can't be had.
template <class Get, class Object>
std::string info_text(Get get, Object object, Uint key) {
  size_t size = 0;
  if (get(object, key, 0, nullptr, &size) != 0 || size == 0) return "";
  std::string text(size, '\0');
  if (get(object, key, size, &text[0], nullptr) != 0) return "";
  text.resize(text.find('\0') == std::string::npos ? size : text.find('\0'));
  while (!text.empty() && isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

template <class T>
T info(Device id, Uint key) {
  T value{};
  check(GetDeviceInfo(id, key, sizeof value, &value, nullptr), "clGetDeviceInfo");
  return value;
}

// 0 where it can't be had.
template <class T>
T info_if_known(Device id, Uint key) {
  T value{};
  return GetDeviceInfo(id, key, sizeof value, &value, nullptr) == 0 ? value : T{};
}

}  // namespace cl
