// What a device can do at most: bytes read from memory, and multiply-adds          any class
//   rate_read          x f32[COUNT], COUNT a multiple of 128 * LANES        sums all of x
//   rate_multiply_add  REPEATS times 8 chains of 16 lanes per work-item: 256 * REPEATS operations
//   rate_copy          y[i] = x[i], four floats for each work-item
//   rate_multiply_add_half  the same in half; x in [0, 0.5), so that no value leaves [0, 1]
// y f32[16 * work-items] only keeps the compiler from leaving the work out.
#ifndef COUNT
#define COUNT 1048576L
#endif
#ifndef REPEATS
#define REPEATS 1024
#endif
// Work-items that read side by side, 16 floats each: 1 on a CPU, whose work-items stream a stretch
// of x of their own, more on a GPU.
#ifndef LANES
#define LANES 1
#endif
#ifndef PREFETCH // cache lines that x is asked for ahead of its use; 0: leave it to the device
#define PREFETCH 0
#endif
#define UNROLL _Pragma("unroll")

// Asks for 8 cache lines: by a builtin of Clang that OpenCL C has no portable form of.
void ahead(__global const float *x) {
#if PREFETCH
  UNROLL for (int line = 0; line < 8; line++)
    __builtin_prefetch((const void *)(size_t)(x + (PREFETCH + line) * 16), 0, 3);
#endif
}

__kernel void rate_read(__global const float *x, __global float *y) {
  const long item = get_global_id(0), teams = get_global_size(0) / LANES;
  const long team = item / LANES, lane = item % LANES, blocks = COUNT / (128 * LANES);
  float16 sum[8];
  UNROLL for (int i = 0; i < 8; i++) sum[i] = 0.0f;
  for (long block = team * blocks / teams; block < (team + 1) * blocks / teams; block++) {
    const long at = (block * 8 * LANES + lane) * 16;
    ahead(x + at);
    UNROLL for (int i = 0; i < 8; i++) sum[i] += vload16(0, x + at + i * LANES * 16);
  }
  vstore16(sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7], item, y);
}

__kernel void rate_copy(__global const float4 *x, __global float4 *y) {
  const size_t i = get_global_id(0);
  y[i] = x[i];
}

__kernel void rate_multiply_add(__global const float *x, __global float *y) {
  const int item = get_global_id(0);
  const float16 b = vload16(0, x), c = vload16(1, x);
  float16 a[8];
  UNROLL for (int i = 0; i < 8; i++) a[i] = vload16(i, x);
  for (int repeat = 0; repeat < REPEATS; repeat++)
    UNROLL for (int i = 0; i < 8; i++) a[i] = a[i] * b + c;
  vstore16(a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7], item, y);
}

#ifdef HAVE_FP16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
__kernel void rate_multiply_add_half(__global const float *x, __global float *y) {
  const int item = get_global_id(0);
  const half16 b = convert_half16(vload16(0, x)), c = convert_half16(vload16(1, x));
  half16 a[8];
  UNROLL for (int i = 0; i < 8; i++) a[i] = convert_half16(vload16(i, x));
  for (int repeat = 0; repeat < REPEATS; repeat++)
    UNROLL for (int i = 0; i < 8; i++) a[i] = a[i] * b + c;
  vstore16(convert_float16(a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7]), item, y);
}
#endif
