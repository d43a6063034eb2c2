#include "base/json.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/failure.h"

namespace pocket {
namespace {

class Parser {
 public:
  Parser(const std::string &text, const std::string &name)
      : start_(text.data()), at_(start_), end_(start_ + text.size()), name_(name) {}

  Json document() {
    Json value = any(0);
    space();
    if (at_ != end_) fail("something follows the end of the document");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string &because) const {
    int line = 1, column = 1;
    for (const char *p = start_; p < at_; ++p) {
      column = *p == '\n' ? 1 : column + 1;
      line += *p == '\n';
    }
    throw Failure(
        name_ + " is not JSON",
        "line " + std::to_string(line) + ", column " + std::to_string(column) + ": " + because,
        "compile the plan again, or undo the last edit of " + name_);
  }

  void space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r')) ++at_;
  }

  bool take(char c) {
    space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!take(c)) fail(std::string("expected '") + c + "'");
  }

  bool word(const char *expected) {
    const size_t n = strlen(expected);
    if (static_cast<size_t>(end_ - at_) < n || memcmp(at_, expected, n) != 0) return false;
    at_ += n;
    return true;
  }

  Json any(int depth) {
    if (depth > MAX_DEPTH) fail("nested too deeply");
    space();
    if (at_ == end_) fail("the file ends too early");
    Json value;
    if (*at_ == '{') return dict(depth);
    if (*at_ == '[') return list(depth);
    if (*at_ == '"') {
      value.kind = Json::Text;
      value.text = string();
    } else if (word("true")) {
      value.kind = Json::Bool;
      value.flag = true;
    } else if (word("false")) {
      value.kind = Json::Bool;
    } else if (!word("null")) {
      return number();
    }
    return value;
  }

  Json list(int depth) {
    Json value;
    value.kind = Json::List;
    expect('[');
    if (take(']')) return value;
    do value.list.push_back(any(depth + 1));
    while (take(','));
    expect(']');
    return value;
  }

  Json dict(int depth) {
    Json value;
    std::set<std::string> seen;
    value.kind = Json::Dict;
    expect('{');
    if (take('}')) return value;
    do {
      space();
      std::string key = string();
      if (!seen.insert(key).second) fail("the key " + quote(key) + " stands there twice");
      expect(':');
      Json item = any(depth + 1);
      value.members.push_back({std::move(key), std::move(item)});
    } while (take(','));
    expect('}');
    return value;
  }

  bool digits() {
    const char *first = at_;
    while (at_ < end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ > first;
  }

  Json number() {
    Json value;
    const char *first = at_;
    bool whole = true;
    if (*at_ == '-') ++at_;
    const bool zero = at_ < end_ && *at_ == '0';
    const char *leading = at_;
    if (!digits() || (zero && at_ - leading > 1)) fail("expected a value");
    if (at_ < end_ && *at_ == '.') {
      ++at_;
      whole = false;
      if (!digits()) fail("expected digits after the point");
    }
    if (at_ < end_ && (*at_ == 'e' || *at_ == 'E')) {
      ++at_;
      whole = false;
      if (at_ < end_ && (*at_ == '+' || *at_ == '-')) ++at_;
      if (!digits()) fail("expected digits in the exponent");
    }
    const std::string text(first, at_);
    errno = 0;
    value.kind = Json::Integer;
    if (whole) value.integer = strtoll(text.c_str(), nullptr, 10);
    if (!whole || errno == ERANGE) value.kind = Json::Real;
    value.real = strtod(text.c_str(), nullptr);
    if (!std::isfinite(value.real)) fail("the number is too large");
    return value;
  }

  unsigned hex4() {
    unsigned code = 0;
    for (int i = 0; i < 4; ++i) {
      if (at_ == end_) fail("the file ends inside \\u");
      const char c = *at_;
      if (c >= '0' && c <= '9') code = code * 16 + (c - '0');
      else if (c >= 'a' && c <= 'f') code = code * 16 + (c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') code = code * 16 + (c - 'A' + 10);
      else fail("expected four hexadecimal digits after \\u");
      ++at_;
    }
    return code;
  }

  void unicode(std::string &out) {
    unsigned code = hex4();
    if (code >= 0xDC00 && code < 0xE000) fail("a lone surrogate");
    if (code >= 0xD800 && code < 0xDC00) {
      if (!word("\\u")) fail("a lone surrogate");
      const unsigned low = hex4();
      if (low < 0xDC00 || low >= 0xE000) fail("a lone surrogate");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, code);
  }

  static void append_utf8(std::string &out, unsigned code) {
    const int tails = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    const unsigned lead[] = {0x00, 0xC0, 0xE0, 0xF0};  // how many bytes of six bits follow
    out += static_cast<char>(lead[tails] | code >> 6 * tails);
    for (int i = tails - 1; i >= 0; --i) out += static_cast<char>(0x80 | (code >> 6 * i & 0x3F));
  }

  void escape(std::string &out) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (at_ == end_) fail("the file ends inside a string");
    const char c = *at_++;
    if (c == 'u') return unicode(out);
    const char *found = c ? strchr(names, c) : nullptr;
    if (!found) fail("unknown escape in a string");
    out += values[found - names];
  }

  std::string string() {
    std::string out;
    if (at_ == end_ || *at_ != '"') fail("expected a string");
    for (++at_;;) {
      if (at_ == end_) fail("the file ends inside a string");
      const unsigned char c = *at_++;
      if (c == '"') return out;
      if (c < 0x20) fail("a control character inside a string");
      if (c == '\\') escape(out);
      else out += static_cast<char>(c);
    }
  }

  const char *start_, *at_, *end_;
  const std::string &name_;
};

}  // namespace

const Json *Json::find(const std::string &key) const {
  for (const Member &member : members)
    if (member.key == key) return &member.value;
  return nullptr;
}

Json parse_json(const std::string &text, const std::string &name) {
  return Parser(text, name).document();
}

namespace {

std::string escaped(unsigned char control) {
  if (control == '\n') return "\\n";
  char code[8];
  snprintf(code, sizeof code, "\\u%04x", control);
  return code;
}

}  // namespace

std::string quote(const std::string &text) {
  std::string out = "\"";
  for (const unsigned char c : text) {
    if (c < 0x20 || c == 0x7F) {
      out += escaped(c);
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<char>(c);
  }
  return out + "\"";
}

Record &Record::add(const char *key, const std::string &value) { return raw(key, quote(value)); }

Record &Record::add(const char *key, const char *value) { return raw(key, quote(value)); }

Record &Record::add(const char *key, int64_t value) { return raw(key, std::to_string(value)); }

Record &Record::add_flag(const char *key, bool value) { return raw(key, value ? "true" : "false"); }

std::string Record::text() const { return "{" + body_ + "}"; }

Record &Record::add(const char *key, double value) {
  char text[40];
  snprintf(text, sizeof text, "%.9g", std::isfinite(value) ? value : 0.0);
  if (char *comma = strchr(text, ',')) *comma = '.';  // an app may have set a locale
  return raw(key, text);
}

Record &Record::raw(const char *key, const std::string &json) {
  if (!body_.empty()) body_ += ", ";
  body_ += quote(key) + ": " + json;
  return *this;
}

}  // namespace pocket
