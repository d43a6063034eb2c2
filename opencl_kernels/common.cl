// What all kernels share: storage accessors, tails, ranges, reductions. Arithmetic is always float.
//
//   STORAGE(h)                  float (h = 0) or half (h = 1); h is X_HALF, W_HALF ...
//   LOAD(h, p, i)               element i of p as float; LOAD4 and LOAD16: 4 or 16 from i on
//   STORE(h, v, p, i)           the inverse; STORE4, STORE16 too
//   LOAD_SOME(h, p, i, count)   float16 of which only the first `count` are read; the rest are zero
//   STORE_SOME(h, v, p, i, c)   writes only the first `c` of 16
//   SPLIT(id, n, count)         first of the items that work-item `id` of `n` has to do
//
// Half is reached only by vload_half/vstore_half, which need no extension. Vectors of 16 are loaded
// by vload16, never by dereferencing a float16 pointer: PoCL uses 512-bit registers only then.
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

#define STORAGE_0 float
#define STORAGE_1 half
#define STORAGE(h) JOIN(STORAGE_, h)

#define LOAD_0(p, i) (p)[i]
#define LOAD_1(p, i) vload_half(0, (p) + (i))
#define LOAD4_0(p, i) vload4(0, (p) + (i))
#define LOAD4_1(p, i) vload_half4(0, (p) + (i))
#define LOAD16_0(p, i) vload16(0, (p) + (i))
#define LOAD16_1(p, i) load_half16((p) + (i))
#define LOAD(h, p, i) JOIN(LOAD_, h)(p, i)
#define LOAD4(h, p, i) JOIN(LOAD4_, h)(p, i)
#define LOAD16(h, p, i) JOIN(LOAD16_, h)(p, i)
#define LOAD_SOME(h, p, i, count) JOIN(load_some_, h)((p) + (i), count)

#define STORE_0(v, p, i) (p)[i] = (v)
#define STORE_1(v, p, i) vstore_half(v, 0, (p) + (i))
#define STORE4_0(v, p, i) vstore4(v, 0, (p) + (i))
#define STORE4_1(v, p, i) vstore_half4(v, 0, (p) + (i))
#define STORE16_0(v, p, i) vstore16(v, 0, (p) + (i))
#define STORE16_1(v, p, i) vstore_half16(v, 0, (p) + (i))
#define STORE(h, v, p, i) JOIN(STORE_, h)(v, p, i)
#define STORE4(h, v, p, i) JOIN(STORE4_, h)(v, p, i)
#define STORE16(h, v, p, i) JOIN(STORE16_, h)(v, p, i)
#define STORE_SOME(h, v, p, i, count) JOIN(store_some_, h)(v, (p) + (i), count)

#define SPLIT(id, n, count) ((int)((long)(id) * (count) / (n)))
#define CEIL_DIV(a, b) (((a) + (b) - 1) / (b))
#define UNROLL _Pragma("unroll")
#define MASKED (-65504.0f)                // the lowest half: finite, so that no NaN can come of it
#define SILU(v) ((v) / (1.0f + exp(-(v))))
#define RELU(v) ((v) < 0.0f ? 0.0f : (v))  // not fmax, which makes a number of NaN
#if ACT == 1 // what a gated unit does to its gate
#define ACTIVATE RELU
#else
#define ACTIVATE SILU
#endif
#if defined(__x86_64__) || defined(__aarch64__) // PoCL: Clang, straight to the CPU; no other driver
#define POCL_CPU 1
#define PREFETCH_LINE(p, hint) __builtin_prefetch((const void *)(size_t)(p), 0, hint);
#else
#define PREFETCH_LINE(p, hint) ;
#endif
#define ASK_FOR(p, bytes)             /* brings memory near that is needed soon */            \
  UNROLL for (int ahead = 0; ahead < (int)(bytes); ahead += 64)                               \
      PREFETCH_LINE((__global const char *)(p) + ahead, 3)
#define SERIAL __attribute__((reqd_work_group_size(1, 1, 1)))

// 16 halves from anywhere. PoCL 3.1's own vload_half16 faults where `p` is not a multiple of 16
// bytes, and converts 8 at a time. Elsewhere no pointer to a vector is cast: phones' compilers take
// the vector for something else.
float16 load_half16(__global const half *p) {
#if POCL_CPU
  const ushort16 bits = vload16(0, (__global const ushort *)p);
#ifdef __AVX512F__
  return __builtin_ia32_vcvtph2ps512_mask(as_short16(bits), (float16)(0.0f), -1, 4);
#else
  return vload_half16(0, (const half *)&bits);
#endif
#else
  return vload_half16(0, p);
#endif
}

// Tails go through a private array: extracting elements of a float16 defeats Oclgrind.
#define TAILS(h)                                                                              \
  float16 JOIN(load_some_, h)(__global const STORAGE(h) *p, int count) {                      \
    if (count >= 16) return LOAD16(h, p, 0);                                                  \
    float v[16];                                                                              \
    for (int i = 0; i < 16; i++) v[i] = 0.0f;                                                 \
    for (int i = 0; i < count; i++) v[i] = LOAD(h, p, i);                                     \
    return vload16(0, v);                                                                     \
  }                                                                                           \
  void JOIN(store_some_, h)(float16 value, __global STORAGE(h) *p, int count) {               \
    if (count >= 16) {                                                                        \
      STORE16(h, value, p, 0);                                                                \
      return;                                                                                 \
    }                                                                                         \
    float v[16];                                                                              \
    vstore16(value, 0, v);                                                                    \
    for (int i = 0; i < count; i++) STORE(h, v[i], p, i);                                     \
  }
TAILS(0)
TAILS(1)

// Parts of a vector are taken through memory: Oclgrind fails on float16.lo. And private memory is
// vectors, never vstore16 to floats: PoCL splits that into stores of 128 bits.
typedef union {
  float16 whole;
  float4 part4[4];
} vector;

float sum16(float16 value) {
  const vector v = {value};
  const float4 s = (v.part4[0] + v.part4[1]) + (v.part4[2] + v.part4[3]);
  return (s.x + s.y) + (s.z + s.w);
}

float max16(float16 value) {
  const vector v = {value};
  const float4 m = fmax(fmax(v.part4[0], v.part4[1]), fmax(v.part4[2], v.part4[3]));
  return fmax(fmax(m.x, m.y), fmax(m.z, m.w));
}
