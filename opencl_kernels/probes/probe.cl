// What `pocketcl devices --probe` asks of a device beside its rates (rates.cl)      any class
//   probe_nothing  what a launch costs
//   probe_touch    writes y[i * STRIDE] = i + 1: every page of a buffer becomes real
//   probe_count    y[item] = how many of x[i * STRIDE] hold i + 1, for every size-th i from item on
//   probe_store    y[i] = value
#ifndef STRIDE // elements from one that is looked at to the next: a page
#define STRIDE 1024
#endif

__kernel void probe_nothing(__global uint *y) {}

__kernel void probe_touch(__global uint *y) {
  const size_t i = get_global_id(0);
  y[i * STRIDE] = (uint)i + 1;
}

__kernel void probe_count(__global const uint *x, __global uint *y, const uint count) {
  uint right = 0;
  for (size_t i = get_global_id(0); i < count; i += get_global_size(0))
    right += x[i * STRIDE] == (uint)i + 1;
  y[get_global_id(0)] = right;
}

__kernel void probe_store(__global uint *y, const uint value) { y[get_global_id(0)] = value; }
