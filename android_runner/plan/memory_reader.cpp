// What a plan's memory means: its symbols, its buffers, and how states change.
#include <algorithm>

#include "base/failure.h"
#include "sizes/bounds.h"
#include "plan/json_node.h"
#include "plan/words.h"

namespace pocket {
namespace {

constexpr int64_t MOST_SLOTS = 1 << 20;

int64_t fixed_size(const Expr &size) { return evaluate(size, {}).value_or(0); }

// Along which axis tokens lie, and how many there can be.
void read_tokens(const Node &node, const Buffer &buffer, State &state) {
  if (!node.has("axis") && state.update != "append") {
    if (node.has("capacity")) node.at("capacity").fail("there is no axis of tokens");
    return;
  }
  state.axis = node.at("axis").index(buffer.shape.size(), "its buffer's shape");
  state.capacity = node.at("capacity").integer(0, INT64_MAX);
  const int64_t size = fixed_size(buffer.shape[*state.axis]);
  if (state.capacity != size)
    node.at("capacity").fail("its buffer has " + std::to_string(size) + " along this axis");
}

void read_versions(const Node &node, const Buffer &buffer, State &state) {
  const Node count = node.at("versions");
  state.versions = count.integer(1, state.update == "replace" ? INT32_MAX : 1);
  if (state.versions == 1) return;
  const bool counts = !buffer.shape.empty() && fixed_size(buffer.shape[0]) == state.versions;
  if (!counts || state.axis == size_t{0})
    count.fail("the first axis of its buffer does not count them");
}

State read_state(const Node &node, const std::vector<Buffer> &buffers) {
  State state{node.at("buffer").index(buffers.size(), "buffers"), node.at("group").text(),
              node.at("part").text(), node.at("update").one_of(UPDATES)};
  const Buffer &buffer = buffers[state.buffer];
  if (buffer.kind != "state") node.at("buffer").fail(quote(buffer.name) + " is no state");
  if (node.has("layout")) state.layout = node.at("layout").one_of(STATE_LAYOUTS);
  read_tokens(node, buffer, state);
  if (node.has("versions")) read_versions(node, buffer, state);
  return state;
}

}  // namespace

int64_t dtype_size(const std::string &dtype) { return ELEMENT_BYTES.at(dtype); }

int64_t dense_bytes(const Node &node, const Symbols &symbols, const Box &box,
                    const std::string &dtype) {
  Expr code = {{Token::Number, dtype_size(dtype)}};
  for (const Node &dim : node.items()) {
    const auto range = bounds(dim.expression(symbols), box);
    if (!range || range->low < 0)
      dim.fail("the extent may be negative or undefined within the symbols' bounds");
    code.push_back({Token::Number, range->high});
    code.push_back({Token::Mul, 0});
  }
  const auto bytes = evaluate(code, {});
  if (!bytes) node.fail("the size overflows");
  return *bytes;
}

const std::string &read_dtype(const Node &node) {
  std::set<std::string> known;
  for (const auto &entry : ELEMENT_BYTES) known.insert(entry.first);
  return node.one_of(known);
}

Symbol read_symbol(const Node &node, const Symbols &earlier) {
  Symbol symbol{
      node.at("name").symbol(), node.at("kind").one_of({"input", "count"}) == "count", {}};
  symbol.range.low = node.at("min").integer(0, INT32_MAX);
  symbol.range.high = node.at("max").integer(symbol.range.low, INT32_MAX);
  if (node.has("length")) symbol.length = node.at("length").integer(1, MOST_SLOTS);
  symbol.slot = node.at("slot").integer(0, MOST_SLOTS - symbol.length.value_or(1));
  for (const Symbol &other : earlier) {
    if (other.name == symbol.name)
      node.at("name").fail("the symbol " + quote(other.name) + " stands there twice");
    if (symbol.slot < other.end() && other.slot < symbol.end())
      node.at("slot").fail(quote(other.name) + " has this slot already");
  }
  return symbol;
}

Buffer read_buffer(const Node &node, const Symbols &symbols, const Box &box) {
  Buffer buffer{node.at("name").text(), node.at("kind").one_of({"input", "output", "state"}),
                read_dtype(node.at("dtype")), node.at("shape").expressions(symbols),
                node.at("bytes").bytes()};
  const int64_t needed = dense_bytes(node.at("shape"), symbols, box, buffer.dtype);
  if (buffer.bytes < needed || buffer.bytes == 0)
    node.at("bytes").fail(std::to_string(buffer.bytes) +
                          " bytes can't hold the shape, which takes " + std::to_string(needed));
  for (size_t i = 0; buffer.kind == "state" && i < buffer.shape.size(); ++i)
    for (const Token &token : buffer.shape[i])
      if (token.op == Token::Symbol)
        node.at("shape").at(i).fail("a state has one size, whatever the symbols are");
  return buffer;
}

// One for each buffer of their kind, and each a part of its own.
std::vector<State> read_states(const Node &node, const std::vector<Buffer> &buffers) {
  std::vector<State> states;
  std::vector<bool> known(buffers.size());
  for (const Node &entry : node.items()) {
    State state = read_state(entry, buffers);
    if (known[state.buffer]) entry.at("buffer").fail("another state has it already");
    known[state.buffer] = true;
    for (const State &other : states)
      if (other.group == state.group && other.part == state.part)
        entry.fail(quote(state.group + "." + state.part) + " stands there twice");
    states.push_back(std::move(state));
  }
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].kind == "state" && !known[i])
      node.fail(quote(buffers[i].name) + " is a state, and none of these says how");
  return states;
}

}  // namespace pocket
