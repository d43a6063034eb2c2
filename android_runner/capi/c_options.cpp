#include "capi/c_options.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/failure.h"

namespace pocket {
namespace {

constexpr size_t LARGEST = 4096;  // of any struct that will ever be

// A newer header's struct is longer; what this library doesn't know must be off, that is 0. An older
// one has `older` bytes and nothing in between, which would end within a field: what it doesn't know
// is off.
template <class Struct>
Struct known_part(const Struct *given, const char *name, size_t older = sizeof(Struct)) {
  const size_t size = given->size;
  if ((size < sizeof(Struct) && size != older) || size > LARGEST)
    throw Failure(std::string(name) + ".size is " + std::to_string(size),
                  "the struct has " + std::to_string(sizeof(Struct)) + " bytes here",
                  "set it to sizeof(" + std::string(name) + ")");
  const char *bytes = reinterpret_cast<const char *>(given);
  for (size_t i = sizeof(Struct); i < size; ++i)
    if (bytes[i])
      throw Failure(std::string(name) + " asks for something unknown",
                    "the app's pocketcl.h is newer than this library, which has version " +
                        std::string(VERSION),
                    "build both from one version");
  Struct known{};
  memcpy(&known, given, std::min(size, sizeof known));
  return known;
}

std::string text(const char *word, const char *otherwise = "") { return word ? word : otherwise; }

std::string wish(const char *name, const char *given) {
  const std::string word = text(given, "auto");
  if (word == "auto" || word == "on" || word == "off") return word;
  throw Failure(std::string(name) + " '" + word + "' is not possible",
                "it says whether steps of decode go this way", "auto, on or off");
}

void check(const char *name, double value, double low, double high) {
  if (value == 0 || (value >= low && value <= high)) return;
  const auto number = [](double limit) {
    std::string digits = std::to_string(limit);
    digits.resize(digits.find_last_not_of('0') + 1);
    return digits.back() == '.' || digits.back() == ',' ? digits.substr(0, digits.size() - 1)
                                                        : digits;
  };
  throw Failure(std::string(name) + " " + number(value) + " is not possible",
                "the option has limits, see pocketcl.h",
                "0 for off, or a number from " + number(low) + " to " + number(high));
}

int64_t bits(float value) {
  int32_t word = 0;
  memcpy(&word, &value, sizeof word);
  return word;
}

}  // namespace

EngineOptions engine_options(const pocketcl_options *given) {
  if (!given) throw Failure("options is NULL", "a plan is needed", "see pocketcl.h");
  const pocketcl_options known = known_part(given, "pocketcl_options", offsetof(pocketcl_options, warm));
  if (!known.plan) throw Failure("options.plan is NULL", "a plan is needed", "the plan's folder");
  EngineOptions options;
  options.plan = known.plan;
  options.library = text(known.library);
  options.platform = text(known.platform);
  options.cache = text(known.cache);
  // Of its own, because Android lets a group into the folder for an app's caches.
  if (!options.cache.empty()) options.cache += "/pocketcl";
  options.gather.warm = text(known.warm);
  if (!options.gather.warm.empty()) options.gather.warm += "/pocketcl/warm";
  options.phases = text(known.phases);
  options.recorded = wish("recorded", known.recorded);
  options.cooperative = wish("cooperative", known.cooperative);
  return options;
}

std::vector<int64_t> sampling_words(const pocketcl_sampling *given) {
  const pocketcl_sampling s =
      given ? known_part(given, "pocketcl_sampling") : pocketcl_sampling{};
  check("temperature", s.temperature, 0.001, 100);
  check("top_k", s.top_k, 0, 256);
  check("top_p", s.top_p, 0, 1);
  check("min_p", s.min_p, 0, 1);
  check("repetition_penalty", s.repetition_penalty, 0.01, 100);
  check("presence_penalty", s.presence_penalty, -100, 100);
  check("frequency_penalty", s.frequency_penalty, -100, 100);
  check("window", s.window, 0, INT32_MAX);
  std::vector<int64_t> words(16);
  words[0] = bits(s.temperature);
  words[1] = s.top_k;
  words[2] = bits(s.top_p == 0 ? 1.0f : s.top_p);
  words[3] = bits(s.min_p);
  words[4] = bits(s.repetition_penalty == 0 ? 1.0f : s.repetition_penalty);
  words[5] = bits(s.presence_penalty);
  words[6] = bits(s.frequency_penalty);
  words[7] = static_cast<int32_t>(s.seed & 0xFFFFFFFF);
  words[8] = static_cast<int32_t>(s.seed >> 32);
  words[9] = s.window;
  words[10] = s.logprobs != 0;
  return words;
}

}  // namespace pocket
