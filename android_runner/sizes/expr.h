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
  int64_t value;  // Number: itself; Symbol: its index
};

using Expr = std::vector<Token>;  // the loader has checked that it leaves exactly one value
constexpr int MAX_STACK = 32;

struct Range {
  int64_t low, high;
};
using Box = std::vector<Range>;  // one range per symbol, in the order of the plan

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

// Runs the code on a stack of values; nothing where an operation has no value.
template <class Value, class Load, class Apply>
std::optional<Value> on_stack(const Expr &code, const Load &load, const Apply &apply) {
  Value stack[MAX_STACK];
  int depth = 0;
  for (const Token &token : code) {
    if (token.op == Token::Number || token.op == Token::Symbol) {
      stack[depth++] = load(token);
      continue;
    }
    const std::optional<Value> value = apply(token.op, stack[depth - 2], stack[depth - 1]);
    if (!value) return std::nullopt;
    stack[--depth - 1] = *value;
  }
  return stack[0];
}

// The value, or nothing where a division by zero or an overflow happens.
inline std::optional<int64_t> evaluate(const Expr &code, const std::vector<int64_t> &symbols) {
  const auto load = [&](const Token &token) {
    return token.op == Token::Symbol ? symbols[token.value] : token.value;
  };
  return on_stack<int64_t>(code, load, apply);
}

}  // namespace pocket
