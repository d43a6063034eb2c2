#include "plan/json_node.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "base/failure.h"
#include "plan/words.h"

namespace pocket {
namespace {

bool is_word(unsigned char c) { return c < 128 && (isalnum(c) || c == '_'); }

bool is_identifier(const std::string &word) {
  return !word.empty() && !isdigit(static_cast<unsigned char>(word[0])) &&
         std::all_of(word.begin(), word.end(), [](unsigned char c) { return is_word(c); });
}

}  // namespace

void Node::fail(const std::string &because) const {
  const std::string path = path_.empty() ? "the top level" : path_;
  throw Failure("plan.json is not a valid plan: " + path, because,
                "compile the model again, or undo the last edit of plan.json");
}

bool Node::has(const char *key) const {
  const Json *found = value_->kind == Json::Dict ? value_->find(key) : nullptr;
  return found && found->kind != Json::Null;
}

Node Node::at(const char *key) const {
  if (value_->kind != Json::Dict) fail("expected an object");
  const Json *found = value_->find(key);
  const Node child(found ? *found : *value_, path_.empty() ? key : path_ + "." + key);
  if (!found) child.fail("the key is missing");
  return child;
}

Node Node::at(size_t index) const {
  if (value_->kind != Json::List) fail("expected a list");
  if (index >= value_->list.size())
    fail("the list has only " + std::to_string(value_->list.size()) + " items");
  return Node(value_->list[index], path_ + "[" + std::to_string(index) + "]");
}

std::vector<Node> Node::items() const {
  if (value_->kind != Json::List) fail("expected a list");
  std::vector<Node> nodes;
  for (size_t i = 0; i < value_->list.size(); ++i) nodes.push_back(at(i));
  return nodes;
}

std::vector<std::string> Node::keys() const {
  if (value_->kind != Json::Dict) fail("expected an object");
  std::vector<std::string> keys;
  for (const Member &member : value_->members) keys.push_back(member.key);
  return keys;
}

int64_t Node::integer(int64_t low, int64_t high) const {
  if (value_->kind != Json::Integer) fail("expected an integer");
  if (value_->integer < low || value_->integer > high)
    fail(std::to_string(value_->integer) + " is not in " + std::to_string(low) + " … " +
         std::to_string(high));
  return value_->integer;
}

size_t Node::index(size_t count, const char *of) const {
  const int64_t index = integer(INT64_MIN, INT64_MAX);
  if (index < 0 || static_cast<size_t>(index) >= count)
    fail(std::to_string(index) + " is no index into " + of + ", which has " +
         std::to_string(count) + " entries");
  return static_cast<size_t>(index);
}

double Node::real() const {
  if (value_->kind == Json::Integer) return static_cast<double>(value_->integer);
  if (value_->kind != Json::Real || !std::isfinite(value_->real)) fail("expected a number");
  return value_->real;
}

bool Node::boolean() const {
  if (value_->kind != Json::Bool) fail("expected true or false");
  return value_->flag;
}

const std::string &Node::text() const {
  if (value_->kind != Json::Text) fail("expected a string");
  for (const unsigned char c : value_->text)
    if (c < 0x20 || c == 0x7F) fail(quote(value_->text) + " has characters that no name has");
  return value_->text;
}

const std::string &Node::one_of(const std::set<std::string> &choices) const {
  std::string list;
  for (const std::string &choice : choices) list += (list.empty() ? "" : ", ") + choice;
  if (!choices.count(text())) fail(quote(text()) + " is none of " + list);
  return value_->text;
}

std::string Node::name() const {
  if (!is_identifier(text())) fail(quote(text()) + " is no name in OpenCL C");
  return text();
}

std::string Node::macro_name() const {
  const std::string &word = text();
  const size_t open = word.find('(');
  bool good = is_identifier(word.substr(0, open));
  if (open != std::string::npos) {
    good = good && word.back() == ')';
    for (const unsigned char c : word.substr(open + 1, word.size() - open - 2))
      good = good && (is_word(c) || c == ',' || c == ' ');
  }
  if (!good) fail(quote(word) + " is no name in OpenCL C");
  return word;
}

std::string Node::symbol() const {
  const std::string &word = text();
  bool good = is_identifier(word.substr(0, 1)) && !RESERVED.count(word);
  for (const unsigned char c : word) good = good && (is_word(c) || c == '.');
  if (!good) fail(quote(word) + " is no name of a symbol");
  return word;
}

size_t Node::size() const { return items().size(); }

Expr Node::expression(const Symbols &symbols) const {
  static const std::map<std::string, Token::Op> operators = {
      {"+", Token::Add}, {"-", Token::Sub},   {"*", Token::Mul},  {"//", Token::Div},
      {"%", Token::Mod}, {"min", Token::Min}, {"max", Token::Max}};
  if (value_->kind == Json::Integer) return {{Token::Number, value_->integer}};
  Expr code;
  int depth = 0;
  for (const Node &token : items()) {
    if (token.value_->kind == Json::Integer) {
      code.push_back({Token::Number, token.value_->integer});
      ++depth;
    } else if (const auto found = operators.find(token.text()); found != operators.end()) {
      if (depth < 2)
        token.fail("the operator " + quote(token.text()) + " has fewer than two operands");
      code.push_back({found->second, 0});
      --depth;
    } else {
      size_t index = 0;
      while (index < symbols.size() && symbols[index].name != token.text()) ++index;
      if (index == symbols.size()) token.fail("unknown symbol or operator " + quote(token.text()));
      if (symbols[index].length)
        token.fail(quote(token.text()) + " is a vector: it has no one value");
      code.push_back({Token::Symbol, static_cast<int64_t>(index)});
      ++depth;
    }
    if (depth > MAX_STACK) token.fail("the expression needs too deep a stack");
  }
  if (depth != 1) fail("the expression leaves " + std::to_string(depth) + " values instead of one");
  return code;
}

std::vector<Expr> Node::expressions(const Symbols &symbols) const {
  std::vector<Expr> list;
  for (const Node &item : items()) list.push_back(item.expression(symbols));
  return list;
}

}  // namespace pocket
