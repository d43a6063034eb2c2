#include "waves/part_sums.h"

#include <cstdint>
#include <cstring>

// What kernels of one vector width share; x86 has two, of which the program chooses where it runs.
#define INLINE inline HERE
#define HERE __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

namespace pocket {
namespace {

constexpr size_t N = 8;  // of a vector; groups that lie side by side
constexpr size_t AT_ONCE = PartSums::AT_ONCE;
constexpr size_t CODES = 8;  // of a word

typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32)));
typedef uint32_t Words __attribute__((vector_size(32)));
typedef uint16_t HalfWords __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(8)));

// A word turned left by one has its codes at multiples of 4, and this is which: two times four are
// cut from 16 bits, without a shift. So a code counts 1, 16, 256 or 4096 times, which is made up for
// in x, and in sums.
constexpr size_t CODE_AT[CODES] = {5, 4, 3, 2, 1, 0, 7, 6};
constexpr float MANY = 16;

// Vectors are handed over by reference: how they are passed by value hangs on the machine.
template <class Vector>
INLINE void load(Vector &v, const void *from) {
  memcpy(&v, from, sizeof v);
}

INLINE void store(const Floats &v, float *to) { memcpy(to, &v, sizeof v); }

// Of finite halves: by the bits, for not every machine has them.
INLINE void load_halves(Floats &v, const char *from) {
  HalfWords bits;
  load(bits, from);
  const Words wide = __builtin_convertvector(bits, Words);
  const Words size = (wide & 0x7fff) << 13;
  const Floats value = (Floats)size * 0x1p112f;
  v = (Floats)((Words)value | (wide & 0x8000) << 16);
}

INLINE float sum_of(const Floats &v) {
  float sums[N];
  store(v, sums);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

struct Codes {
  size_t group, blocks;
  bool zero;
  INLINE const char *scales(const char *part, size_t block) const {
    return part + blocks * group * 4 + block * N * 2;
  }
  INLINE void load_zeros(Floats &v, const char *part, size_t block) const {
    v = Floats{} + 8.0f;
    if (!zero) return;
    Bytes bytes;
    load(bytes, part + blocks * (group * 4 + N * 2) + block * N);
    v = __builtin_convertvector(__builtin_convertvector(bytes, Ints), Floats);
  }
};

// Eight vectors of words' codes one behind the other: `take` gets the vector's number and value.
template <class Take>
INLINE void each_code(const char *words, const Take &take) {
  Words word;
  load(word, words);
  word = word << 1 | word >> 31;
  UNROLL for (size_t half = 0; half < 2; ++half) {
    const Ints some = (Ints)(half ? word >> 16 : word);
    take(4 * half, __builtin_convertvector(some & 0xf, Floats));
    take(4 * half + 1, __builtin_convertvector(some & 0xf0, Floats));
    take(4 * half + 2, __builtin_convertvector(some & 0xf00, Floats));
    take(4 * half + 3, __builtin_convertvector(some & 0xf000, Floats));
  }
}

INLINE void multiply_codes(const Codes &of, const char *const *parts, const float *row, float *v) {
  const size_t words = of.group / CODES;
  const float *const totals = row + of.blocks * of.group * N;
  Floats sums[AT_ONCE] = {};
  for (size_t b = 0; b < of.blocks; ++b) {
    Floats some[AT_ONCE] = {};
    for (size_t w = b * words; w < (b + 1) * words; ++w) {
      const float *const x = row + w * CODES * N;
      UNROLL for (size_t q = 0; q < AT_ONCE; ++q)
        each_code(parts[q] + w * N * 4, [&](size_t i, const Floats &code) HERE {
          Floats its;
          load(its, x + i * N);
          some[q] += code * its;
        });
    }
    Floats total;
    load(total, totals + b * N);
    UNROLL for (size_t q = 0; q < AT_ONCE; ++q) {
      Floats scale, zero;
      load_halves(scale, of.scales(parts[q], b));
      of.load_zeros(zero, parts[q], b);
      sums[q] += scale * (some[q] - zero * total);
    }
  }
  UNROLL for (size_t q = 0; q < AT_ONCE; ++q) v[q] = sum_of(sums[q]);
}

INLINE void add_codes(const Codes &of, const char *const *parts, const float *h, float *row) {
  const size_t words = of.group / CODES;
  float *const totals = row + of.blocks * of.group * N;
  for (size_t b = 0; b < of.blocks; ++b) {
    Floats factors[AT_ONCE], total;
    load(total, totals + b * N);
    UNROLL for (size_t q = 0; q < AT_ONCE; ++q) {
      Floats zero;
      load_halves(factors[q], of.scales(parts[q], b));
      of.load_zeros(zero, parts[q], b);
      factors[q] *= h[q];
      total += factors[q] * zero;
    }
    store(total, totals + b * N);
    for (size_t w = b * words; w < (b + 1) * words; ++w) {
      Floats y[CODES];
      UNROLL for (size_t i = 0; i < CODES; ++i) load(y[i], row + (w * CODES + i) * N);
      UNROLL for (size_t q = 0; q < AT_ONCE; ++q)
        each_code(parts[q] + w * N * 4,
                  [&](size_t i, const Floats &code) HERE { y[i] += code * factors[q]; });
      UNROLL for (size_t i = 0; i < CODES; ++i) store(y[i], row + (w * CODES + i) * N);
    }
  }
}

INLINE void multiply_halves(size_t width, const char *const *parts, const float *row, float *v) {
  Floats sums[AT_ONCE] = {};
  for (size_t at = 0; at < width; at += N) {
    Floats x;
    load(x, row + at);
    UNROLL for (size_t q = 0; q < AT_ONCE; ++q) {
      Floats number;
      load_halves(number, parts[q] + at * 2);
      sums[q] += number * x;
    }
  }
  UNROLL for (size_t q = 0; q < AT_ONCE; ++q) v[q] = sum_of(sums[q]);
}

INLINE void add_halves(size_t width, const char *const *parts, const float *h, float *row) {
  for (size_t at = 0; at < width; at += N) {
    Floats y;
    load(y, row + at);
    UNROLL for (size_t q = 0; q < AT_ONCE; ++q) {
      Floats number;
      load_halves(number, parts[q] + at * 2);
      y += number * h[q];
    }
    store(y, row + at);
  }
}

struct Kernels {
  void (*multiply_codes)(const Codes &, const char *const *, const float *, float *);
  void (*add_codes)(const Codes &, const char *const *, const float *, float *);
  void (*multiply_halves)(size_t, const char *const *, const float *, float *);
  void (*add_halves)(size_t, const char *const *, const float *, float *);
};

#define KERNELS(NAME, ATTRIBUTE)                                                               \
  ATTRIBUTE void NAME##_multiply_codes(const Codes &of, const char *const *parts,              \
                                       const float *row, float *v) {                           \
    multiply_codes(of, parts, row, v);                                                         \
  }                                                                                            \
  ATTRIBUTE void NAME##_add_codes(const Codes &of, const char *const *parts, const float *h,   \
                                  float *row) {                                                \
    add_codes(of, parts, h, row);                                                              \
  }                                                                                            \
  ATTRIBUTE void NAME##_multiply_halves(size_t width, const char *const *parts,                \
                                        const float *row, float *v) {                          \
    multiply_halves(width, parts, row, v);                                                     \
  }                                                                                            \
  ATTRIBUTE void NAME##_add_halves(size_t width, const char *const *parts, const float *h,     \
                                   float *row) {                                               \
    add_halves(width, parts, h, row);                                                          \
  }                                                                                            \
  const Kernels NAME = {NAME##_multiply_codes, NAME##_add_codes, NAME##_multiply_halves,       \
                        NAME##_add_halves};

KERNELS(plain, )

#ifdef __x86_64__
KERNELS(wide, __attribute__((target("avx2,fma"))))

const Kernels &kernels() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has ? wide : plain;
}
#else
const Kernels &kernels() { return plain; }
#endif

size_t rounded_up(size_t count, size_t to) { return (count + to - 1) / to * to; }

}  // namespace

bool PartSums::knows(const TablePart &part) { return part.dtype == "e0m4" || part.dtype == "f16"; }

PartSums::PartSums(const TablePart &part)
    : length_(static_cast<size_t>(part.length)),
      group_(static_cast<size_t>(part.group)),
      blocks_(group_ ? rounded_up(length_, N * group_) / (N * group_) : 0),
      zero_(part.zero) {
  width_ = group_ ? blocks_ * N * (group_ + 1) : rounded_up(length_, N);
}

// Each number that there is of each code: where it lies in a row, what it counts there, and its block's
// group, from the first on.
template <class Take>
void PartSums::each_number(const Take &take) const {
  constexpr float COUNTS[] = {1, 1 / MANY, 1 / (MANY * MANY), 1 / (MANY * MANY * MANY)};
  for (size_t group = 0; group < blocks_ * N; ++group)
    for (size_t word = 0; word < group_ / CODES; ++word)
      for (size_t nth = 0; nth < CODES; ++nth) {
        const size_t number = group * group_ + word * CODES + CODE_AT[nth];
        const size_t vector = (group / N * group_ / CODES + word) * CODES + nth;
        if (number < length_) take(number, vector * N + group % N, COUNTS[nth % 4], group);
      }
}

void PartSums::arrange(const float *x, float *row) const {
  memset(row, 0, width_ * sizeof *row);
  if (!group_) memcpy(row, x, length_ * sizeof *row);
  float *const totals = row + blocks_ * group_ * N;
  each_number([&](size_t number, size_t place, float counts, size_t group) {
    row[place] = x[number] * counts;
    totals[group] += x[number];
  });
}

void PartSums::restore(const float *row, float *y) const {
  const float *const totals = row + blocks_ * group_ * N;
  for (size_t k = 0; k < (group_ ? 0 : length_); ++k) y[k] += row[k];
  each_number([&](size_t number, size_t place, float counts, size_t group) {
    y[number] += row[place] * counts - totals[group];
  });
}

void PartSums::multiply(const char *const *parts, const float *row, float *v) const {
  if (group_) kernels().multiply_codes({group_, blocks_, zero_}, parts, row, v);
  else kernels().multiply_halves(width_, parts, row, v);
}

void PartSums::add(const char *const *parts, const float *h, float *row) const {
  if (group_) kernels().add_codes({group_, blocks_, zero_}, parts, h, row);
  else kernels().add_halves(width_, parts, h, row);
}

}  // namespace pocket
