// Text cut into pieces: words of a command, lines of a log.
#pragma once
#include <string>
#include <vector>

namespace pocket {

// The pieces between `separators`; empty ones are left out.
inline std::vector<std::string> pieces(const std::string &text, const char *separators) {
  std::vector<std::string> found;
  for (size_t start = 0, end; start < text.size(); start = end) {
    start = text.find_first_not_of(separators, start);
    if (start == std::string::npos) break;
    end = text.find_first_of(separators, start);
    found.push_back(text.substr(start, end - start));
  }
  return found;
}

}  // namespace pocket
