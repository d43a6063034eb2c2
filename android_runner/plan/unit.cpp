#include "plan/unit.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "plan/step_reader.h"

namespace pocket {
namespace {

constexpr size_t MOST_WAITING = 16, MOST_WORDS = 256;

float larger(float a, float b) { return a > b || a != a ? a : b; }

const Activation::Function FUNCTIONS[] = {
    {"Add", 2, [](const float *a) { return a[0] + a[1]; }},
    {"Sub", 2, [](const float *a) { return a[0] - a[1]; }},
    {"Mul", 2, [](const float *a) { return a[0] * a[1]; }},
    {"Div", 2, [](const float *a) { return a[0] / a[1]; }},
    {"Max", 2, [](const float *a) { return larger(a[0], a[1]); }},
    {"Min", 2, [](const float *a) { return -larger(-a[0], -a[1]); }},
    {"Neg", 1, [](const float *a) { return -a[0]; }},
    {"Abs", 1, [](const float *a) { return a[0] < 0 ? -a[0] : a[0]; }},
    {"Exp", 1, [](const float *a) { return expf(a[0]); }},
    {"Sigmoid", 1, [](const float *a) { return 1 / (1 + expf(-a[0])); }},
    {"Tanh", 1, [](const float *a) { return tanhf(a[0]); }},
    {"Erf", 1, [](const float *a) { return erff(a[0]); }},
    {"Relu", 1, [](const float *a) { return larger(a[0], 0); }},
    {"Less", 2, [](const float *a) { return a[0] < a[1] ? 1.0f : 0.0f; }},
    {"LessOrEqual", 2, [](const float *a) { return a[0] <= a[1] ? 1.0f : 0.0f; }},
    {"Greater", 2, [](const float *a) { return a[0] > a[1] ? 1.0f : 0.0f; }},
    {"GreaterOrEqual", 2, [](const float *a) { return a[0] >= a[1] ? 1.0f : 0.0f; }},
    {"Where", 3, [](const float *a) { return a[0] != 0 ? a[1] : a[2]; }},
};

const Activation::Function *function_called(const std::string &word) {
  for (const Activation::Function &each : FUNCTIONS)
    if (word == each.name) return &each;
  return nullptr;
}

Activation read_activation(const Node &node) {
  const std::optional<Activation> found = Activation::read(node.text());
  if (!found) node.fail("no function of v");
  return *found;
}

// An argument of the dispatch, of one of these types where it isn't a weight.
size_t read_place(const Node &node, const Context &context, const Step &dispatch, bool weight,
                  bool written) {
  const size_t place = node.index(dispatch.args.size(), "args");
  const Argument &argument = dispatch.args[place];
  const bool writes = std::find(dispatch.writes.begin(), dispatch.writes.end(), place) !=
                      dispatch.writes.end();
  if (weight) {
    if (argument.kind != Argument::Weight) node.fail("it is no weight");
    return place;
  }
  const bool scratch = argument.kind == Argument::Scratch;
  if (!scratch && argument.kind != Argument::Buffer) node.fail("it is neither scratch nor a buffer");
  const std::string &dtype = scratch ? context.phase.scratch[argument.index].dtype
                                     : context.plan.buffers[argument.index].dtype;
  if (dtype != "f32" && (written || dtype != "f16")) node.fail("its numbers are " + dtype);
  if (writes != written) node.fail(written ? "it isn't written" : "it is written");
  return place;
}

}  // namespace

std::optional<Activation> Activation::read(const std::string &text) {
  Activation found;
  const std::string words = text + " ";
  size_t waiting = 0;
  for (size_t at = 0, space = 0; (space = words.find(' ', at)) != std::string::npos; at = space + 1) {
    const std::string word = words.substr(at, space - at);
    const Function *const function = function_called(word);
    char *end = nullptr;
    const auto number = static_cast<float>(strtod(word.c_str(), &end));
    if (!function && word != "v" && (*end || word.empty())) return std::nullopt;
    const size_t taken = function ? function->arity : 0;
    if (taken > waiting) return std::nullopt;
    waiting += 1 - taken;
    if (waiting > MOST_WAITING || found.words_.size() == MOST_WORDS) return std::nullopt;
    found.words_.push_back({function, word == "v", number});
  }
  return waiting == 1 ? std::optional(found) : std::nullopt;
}

float Activation::operator()(float v) const {
  float waiting[MOST_WAITING];
  float *end = waiting;
  for (const Word &word : words_) {
    if (word.function) {
      end -= word.function->arity;
      *end = word.function->compute(end);
    } else {
      *end = word.is_v ? v : word.number;
    }
    ++end;
  }
  return waiting[0];
}

Unit read_unit(const Node &node, const Context &context, const Table &table,
               const std::vector<Step> &dispatches) {
  if (dispatches.size() != 1) node.fail("it is that of one dispatch");
  const std::map<std::string, Unit::Gate> gates = {
      {"none", Unit::None}, {"part", Unit::Part}, {"given", Unit::Given}};
  const Unit::Gate gate = gates.at(node.at("gate").one_of({"none", "part", "given"}));
  if (table.parts.size() < (gate == Unit::Part ? 3 : 2)) node.at("gate").fail("records have no such part");
  const auto place = [&](const char *key, bool weight = false, bool written = false) {
    return read_place(node.at(key), context, dispatches[0], weight, written);
  };
  const auto maybe = [&](const char *key, bool weight) {
    return node.has(key) ? std::optional(place(key, weight)) : std::nullopt;
  };
  const Unit unit{gate,
                  read_activation(node.at("act")),
                  read_activation(node.at("up_act")),
                  place("x"),
                  place("part", false, true),
                  maybe("given", false),
                  maybe("gate_bias", true),
                  maybe("up_bias", true)};
  if ((gate == Unit::Given) != unit.given.has_value()) node.at("gate").fail("it is not there");
  return unit;
}

}  // namespace pocket
