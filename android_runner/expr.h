// Integer expressions in reverse Polish, e.g. ["seq", 63, "+", 64, "//"] with seq = 130 gives 3.
// Division floors.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace pocket {

struct Token {
  enum Op { Number, Symbol, Add, Sub, Mul, Div, Mod, Min, Max };
  Op op;
  int64_t value;  // Number: itself; Symbol: its slot
};

using Expr = std::vector<Token>;  // the loader has checked that it leaves exactly one value
constexpr int MAX_STACK = 32;

struct Range {
  int64_t low, high;
};
using Box = std::vector<Range>;  // one range per symbol, in slot order

// Floor division and its remainder as in Python; no value for n / 0 and for overflow.
inline std::optional<int64_t> divide(Token::Op op, int64_t a, int64_t b) {
  if (b == 0 || (b == -1 && a == INT64_MIN)) return std::nullopt;
  const bool below = a % b != 0 && (a < 0) != (b < 0);
  return op == Token::Div ? a / b - below : a % b + (below ? b : 0);
}

inline std::optional<int64_t> apply(Token::Op op, int64_t a, int64_t b) {
  int64_t out = 0;
  switch (op) {
    case Token::Add:
      return __builtin_add_overflow(a, b, &out) ? std::nullopt : std::optional(out);
    case Token::Sub:
      return __builtin_sub_overflow(a, b, &out) ? std::nullopt : std::optional(out);
    case Token::Mul:
      return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional(out);
    case Token::Min:
      return a < b ? a : b;
    case Token::Max:
      return a > b ? a : b;
    default:
      return divide(op, a, b);
  }
}

// The value, or nothing where a division by zero or an overflow happens.
inline std::optional<int64_t> evaluate(const Expr &code, const std::vector<int64_t> &symbols) {
  int64_t stack[MAX_STACK];
  int depth = 0;
  for (const Token &token : code) {
    if (token.op == Token::Number) {
      stack[depth++] = token.value;
    } else if (token.op == Token::Symbol) {
      stack[depth++] = symbols[token.value];
    } else {
      const auto value = apply(token.op, stack[depth - 2], stack[depth - 1]);
      if (!value) return std::nullopt;
      stack[--depth - 1] = *value;
    }
  }
  return stack[0];
}

// Smallest and largest value over the corners of the box (of the symbols that occur; ends only
// beyond eight).
inline std::optional<Range> over_corners(const Expr &code, const Box &box) {
  std::vector<int64_t> used, values;
  for (const Range &range : box) values.push_back(range.low);
  for (const Token &token : code) {
    bool known = token.op != Token::Symbol;
    for (const int64_t slot : used) known |= slot == token.value;
    if (!known) used.push_back(token.value);
  }
  const bool every = used.size() <= 8;
  std::optional<Range> result;
  for (uint32_t corner = 0; corner < (every ? 1u << used.size() : 2u); ++corner) {
    for (size_t i = 0; i < used.size(); ++i)
      values[used[i]] = (every ? corner >> i & 1 : corner) ? box[used[i]].high : box[used[i]].low;
    const auto value = evaluate(code, values);
    if (!value) return std::nullopt;
    if (!result) result = Range{*value, *value};
    result = Range{*value < result->low ? *value : result->low,
                   *value > result->high ? *value : result->high};
  }
  return result;
}

}  // namespace pocket
