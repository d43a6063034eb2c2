// Numbers made up by a formula that the compiler has too (toolkit/compiler/vectors/drawn.py), and
// sums by which two arrays are told apart.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace pocket {

constexpr size_t SUMS = 8;
constexpr double PARTS = 64;  // of 1: floats are made up in these

uint32_t hash(uint32_t x);

// `count` elements low + hash(seed + i) % span, of floats in 64ths.
std::string drawn(const std::string &dtype, size_t count, uint32_t seed, int64_t low, int64_t span);

// Of all elements, with the sign that bit j of hash(i) says in sum j. The sums of an error have its
// root sum square as their own mean one, wherever it lies.
std::array<double, SUMS> sums_of(const std::string &dtype, const std::string &elements);

}  // namespace pocket
