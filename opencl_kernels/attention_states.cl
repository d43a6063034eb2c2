// What the attention kernels of class cpu share: sizes, slots of the KV states, sums of 16 vectors.
#include "common.cl"
#define HEADS (H / G)                    // query heads of a K/V head
#define KP CEIL_DIV(K, 16)               // vectors per head
#if RING
#define SLOT(j) ((j) % C)
#else
#define SLOT(j) (j)
#endif
#define STATE __global const STORAGE(KV_HALF) *
#define LANES ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define ROW_BYTES (K * sizeof(STORAGE(KV_HALF)))

float4 sum_pairs(float4 a, float4 b) {
  return (float4)(a.x + a.y, a.z + a.w, b.x + b.y, b.z + b.w);
}

// The sum of each of 16 vectors.
float16 sums_of(const vector *rows) {
  float4 s[16];
  vector sums;
  UNROLL for (int i = 0; i < 16; i++) {
    const float4 *part = rows[i].part4;
    s[i] = (part[0] + part[1]) + (part[2] + part[3]);
  }
  UNROLL for (int i = 0; i < 8; i++) s[i] = sum_pairs(s[2 * i], s[2 * i + 1]);
  UNROLL for (int i = 0; i < 4; i++) sums.part4[i] = sum_pairs(s[2 * i], s[2 * i + 1]);
  return sums.whole;
}
