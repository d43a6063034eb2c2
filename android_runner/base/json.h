// A strict JSON reader (RFC 8259: no comments, no trailing commas, no duplicate keys) and a small
// writer.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace pocket {

struct Member;

struct Json {
  enum Kind { Null, Bool, Integer, Real, Text, List, Dict };
  Kind kind = Null;
  bool flag = false;
  int64_t integer = 0;  // Integer: a number without fraction or exponent that fits
  double real = 0;      // Real: every other number
  std::string text;
  std::vector<Json> list;
  std::vector<Member> members;  // Dict, in file order

  const Json *find(const std::string &key) const;  // nullptr when absent
};

struct Member {
  std::string key;
  Json value;
};

constexpr int MAX_DEPTH = 64;  // nesting; a plan needs 8

// Throws Failure with line and column; `name` is the file that the message names.
Json parse_json(const std::string &text, const std::string &name);

std::string quote(const std::string &text);

// Writes one flat object: Record().add("a", 1).add("b", "x").text() is {"a": 1, "b": "x"}.
class Record {
 public:
  Record &add(const char *key, const std::string &value);
  Record &add(const char *key, const char *value);
  Record &add(const char *key, int64_t value);
  Record &add(const char *key, double value);
  Record &add_flag(const char *key, bool value);
  Record &raw(const char *key, const std::string &json);
  std::string text() const;

 private:
  std::string body_;
};

}  // namespace pocket
