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

// An argument of the dispatch with numbers of one of the types that threads know.
size_t read_place(const Node &node, const Context &context, const Step &dispatch, bool written) {
  const size_t place = node.index(dispatch.args.size(), "args");
  const Argument &argument = dispatch.args[place];
  const bool writes = std::find(dispatch.writes.begin(), dispatch.writes.end(), place) !=
                      dispatch.writes.end();
  const bool scratch = argument.kind == Argument::Scratch;
  if (!scratch && argument.kind != Argument::Buffer) node.fail("it is neither scratch nor a buffer");
  const std::string &dtype = scratch ? context.phase.scratch[argument.index].dtype
                                     : context.plan.buffers[argument.index].dtype;
  if (dtype != "f32" && (written || dtype != "f16")) node.fail("its numbers are " + dtype);
  if (writes != written) node.fail(written ? "it isn't written" : "it is written");
  return place;
}

// A number for each record.
size_t read_bias(const Node &node, const Context &context, const Step &dispatch,
                 const Table &table) {
  const size_t place = node.index(dispatch.args.size(), "args");
  const Argument &argument = dispatch.args[place];
  if (argument.kind != Argument::Weight) node.fail("it is no weight");
  const Weight &weight = context.plan.weights[argument.index];
  if (weight.dtype != "f32" || weight.shape != std::vector<int64_t>{table.count})
    node.fail(quote(weight.name) + " is no list of " + std::to_string(table.count) + " f32");
  return place;
}

// A plain decimal number, as float: strtod alone takes more, and by locale.
std::optional<float> number_of(const std::string &word) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < word.size() && word[at] >= '0' && word[at] <= '9') ++at;
    return at > begin;
  };
  const auto sign = [&] { at += at < word.size() && (word[at] == '-' || word[at] == '+'); };
  sign();
  bool plain = digits();
  if (at < word.size() && word[at] == '.') {
    ++at;
    plain = digits() && plain;
  }
  if (at < word.size() && (word[at] == 'e' || word[at] == 'E')) {
    ++at;
    sign();
    plain = digits() && plain;
  }
  if (!plain || at != word.size()) return std::nullopt;
  const auto number = static_cast<float>(strtod(word.c_str(), nullptr));
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

}  // namespace

std::optional<Activation> Activation::read(const std::string &text) {
  Activation found;
  const std::string words = text + " ";
  size_t waiting = 0;
  for (size_t at = 0, space = 0; (space = words.find(' ', at)) != std::string::npos; at = space + 1) {
    const std::string word = words.substr(at, space - at);
    const Function *const function = function_called(word);
    const std::optional<float> number = number_of(word);
    if (!function && word != "v" && !number) return std::nullopt;
    const size_t taken = function ? function->arity : 0;
    if (taken > waiting) return std::nullopt;
    waiting += 1 - taken;
    if (waiting > MOST_WAITING || found.words_.size() == MOST_WORDS) return std::nullopt;
    found.words_.push_back({function, word == "v", number.value_or(0)});
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
  const auto place = [&](const char *key, bool written = false) {
    return read_place(node.at(key), context, dispatches[0], written);
  };
  const auto bias = [&](const char *key) -> std::optional<size_t> {
    if (!node.has(key)) return std::nullopt;
    return read_bias(node.at(key), context, dispatches[0], table);
  };
  const Unit unit{gate,
                  read_activation(node.at("act")),
                  read_activation(node.at("up_act")),
                  place("x"),
                  place("part", true),
                  node.has("given") ? std::optional(place("given")) : std::nullopt,
                  bias("gate_bias"),
                  bias("up_bias")};
  if ((gate == Unit::Given) != unit.given.has_value()) node.at("gate").fail("it is not there");
  return unit;
}

}  // namespace pocket
