// What holds for an expression everywhere in a box of symbols: interval arithmetic, which is sound
// and not always tight, and a number that divides every value. toolkit/plan/bounds.py does the same.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "sizes/expr.h"

namespace pocket {

struct Bounds {
  int64_t low, high;  // both included
  int64_t divisor;    // 0 divides only 0
};

// Of an operation that is monotone in each operand, and so is extreme at the corners.
inline std::optional<Range> over_corners(Token::Op op, const Bounds &a, const Bounds &b) {
  const std::optional<int64_t> values[] = {apply(op, a.low, b.low), apply(op, a.low, b.high),
                                           apply(op, a.high, b.low), apply(op, a.high, b.high)};
  Range range{INT64_MAX, INT64_MIN};
  for (const auto &value : values) {
    if (!value) return std::nullopt;
    range = {std::min(range.low, *value), std::max(range.high, *value)};
  }
  return range;
}

inline std::optional<Range> modulo(const Bounds &a, const Bounds &b) {
  if (b.low <= 0) return std::nullopt;
  if (a.low >= 0 && a.high < b.low) return Range{a.low, a.high};
  return Range{0, a.low >= 0 ? std::min(b.high - 1, a.high) : b.high - 1};
}

// A divisor of the results where both operands have one.
inline int64_t divisor(Token::Op op, const Bounds &a, const Bounds &b) {
  int64_t product = 0;
  if (op == Token::Mul)
    return __builtin_mul_overflow(a.divisor, b.divisor, &product) ? a.divisor : product;
  if (op != Token::Div) return std::gcd(a.divisor, b.divisor);
  const bool whole = b.low == b.high && b.low > 0 && a.divisor % b.low == 0;
  return whole ? a.divisor / b.low : 1;
}

// Where only one value is possible it is its own divisor.
inline Bounds with_divisor(const Range &range, int64_t divisor) {
  if (range.low == range.high && range.low != INT64_MIN) divisor = std::abs(range.low);
  return {range.low, range.high, divisor};
}

inline std::optional<Bounds> apply_to_bounds(Token::Op op, const Bounds &a, const Bounds &b) {
  if (op == Token::Div && b.low <= 0 && b.high >= 0) return std::nullopt;
  const std::optional<Range> range = op == Token::Mod ? modulo(a, b) : over_corners(op, a, b);
  return range ? std::optional(with_divisor(*range, divisor(op, a, b))) : std::nullopt;
}

// Nothing where a division by zero, a modulus below one or an overflow may happen.
inline std::optional<Bounds> bounds(const Expr &code, const Box &box) {
  const auto load = [&](const Token &token) {
    const bool symbol = token.op == Token::Symbol;
    return with_divisor(symbol ? box[token.value] : Range{token.value, token.value}, 1);
  };
  return on_stack<Bounds>(code, load, apply_to_bounds);
}

}  // namespace pocket
