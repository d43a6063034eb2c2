// Tells what the runner makes of sizes. For each line {"symbols": [NAME…],
// "code": RPN, "box": [[LOW, HIGH]…], "at": [[VALUE…]…]} of stdin one line: the
// bounds over the box and the value at each point, null where there is none; or
// why the code is malformed.
#include <iostream>
#include <string>

#include "base/failure.h"
#include "sizes/bounds.h"
#include "plan/json_node.h"

namespace {

using namespace pocket;

std::vector<int64_t> numbers(const Node &node) {
  std::vector<int64_t> found;
  for (const Node &item : node.items())
    found.push_back(item.integer(INT64_MIN, INT64_MAX));
  return found;
}

std::string bounds_text(const Expr &code, const Box &box) {
  const auto found = bounds(code, box);
  if (!found)
    return "null";
  return "[" + std::to_string(found->low) + ", " + std::to_string(found->high) +
         ", " + std::to_string(found->divisor) + "]";
}

std::string values_text(const Expr &code, const Node &points) {
  std::string list;
  for (const Node &point : points.items()) {
    const auto value = evaluate(code, numbers(point));
    list +=
        (list.empty() ? "" : ", ") + (value ? std::to_string(*value) : "null");
  }
  return "[" + list + "]";
}

std::string answer(const Node &line) try {
  Symbols symbols;
  for (const Node &name : line.at("symbols").items())
    symbols.push_back({name.text(), false, {}});
  const Expr code = line.at("code").expression(symbols);
  Box box;
  for (const Node &range : line.at("box").items())
    box.push_back({numbers(range)[0], numbers(range)[1]});
  return Record()
      .raw("bounds", bounds_text(code, box))
      .raw("at", values_text(code, line.at("at")))
      .text();
} catch (const Failure &failure) {
  return Record().add("malformed", failure.because).text();
}

} // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const Json json = parse_json(line, "the line");
    std::cout << answer(Node(json, "")) << std::endl;
  }
}
