// Whether two kernels computed the same, as far as their precision allows.
#pragma once
#include <string>

namespace pocket {

// Of an output of this type: what it held before, and after each of both launches. Only what the
// first one changed is looked at. Floats may differ by a 16th of their size and of the usual one:
// 128 roundoffs of a half, and less than a value that is another's. Integers are equal. Types that
// may be packed words are not compared.
bool agree(const std::string &dtype, const std::string &before, const std::string &one,
           const std::string &other);
bool comparable(const std::string &dtype);

}  // namespace pocket
