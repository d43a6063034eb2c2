// Weights in codes of BITS bits: scale * (code - zero), one scale and zero for GROUP codes along K.
//
// Code j of a word lies BITS * j below the top of a float's mantissa, round the word: one rotation
// brings it there, one mask and one OR with 1.0 make it 1 + code / UNIT (E0M4, Transformer-Lite
// section 3.3). So the weight is a * that + b with a = UNIT * scale, b = -(UNIT + zero) * scale.
#define CODES (32 / BITS)               // of a word
#define UNIT (float)(1 << BITS)
#define TOP (((1u << BITS) - 1) << (23 - BITS))
#define ONE 0x3f800000u
#define WORDS (GROUP / CODES)           // of a group
#define GROUPS_K CEIL_DIV(K, GROUP)
#define CODE16(word, j) as_float16((rotate(word, (uint16)((j) * BITS)) & TOP) | ONE)
#define CODE4(word, j) as_float4((rotate(word, (uint4)((j) * BITS)) & TOP) | ONE)
#define CODE(word, j) as_float((rotate(word, (uint)((j) * BITS)) & TOP) | ONE)
#if ZERO == 0
#define ZERO_PARAM
#define ZERO_ARG
#define ZERO16(i) (float16)(UNIT / 2)
#define ZERO4(i) (float4)(UNIT / 2)
#define ZERO1(i) (UNIT / 2)
#elif ZERO == 1
#define ZERO_PARAM __global const uchar *zero,
#define ZERO_ARG zero,
#define ZERO16(i) convert_float16(vload16(0, zero + (i)))
#define ZERO4(i) convert_float4(vload4(0, zero + (i)))
#define ZERO1(i) (float)zero[i]
#else
#if ZERO == 2
#define ZERO_HALF 1
#else
#define ZERO_HALF 0
#endif
#define ZERO_PARAM __global const STORAGE(ZERO_HALF) *zero,
#define ZERO_ARG zero,
#define ZERO16(i) LOAD16(ZERO_HALF, zero, i)
#define ZERO4(i) LOAD4(ZERO_HALF, zero, i)
#define ZERO1(i) LOAD(ZERO_HALF, zero, i)
#endif
#define CODED_PARAM __global const uint *w, __global const STORAGE(SCALE_HALF) *scale, ZERO_PARAM
#define CODED_ARG w, scale, ZERO_ARG
#define WORD_AT(n, k) (((size_t)((n) / 32) * GROUPS_K * WORDS + (k) / CODES) * 32 + (n) % 32)
#define GROUP_AT(n, k) (((size_t)((n) / 32) * GROUPS_K + (k) / GROUP) * 32 + (n) % 32)
