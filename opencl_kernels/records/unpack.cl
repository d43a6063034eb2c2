// Parts of a ticket's records as the weight of a product: the j-th record is row j, or column j.
//
//   ticket, slots (records.clh), then the weight; what the ticket has no record for becomes 0
//   COLUMN 1  w W[ceil(LENGTH/16)][T][16], floats of part PART
//   COLUMN 0  w, scale and zero as in quantized.clh where BITS, else w half[ceil(N/16)][LENGTH][16];
//             N = T rows of part PART, or where PAIR rows of it and the next, interleaved by 16: gate
//             and up of a gated unit                                                 both classes
// An item is 16 numbers of a column, or the same eight of 32 rows.
#ifndef WORKERS // work-items of the launch; 0: one for each item
#define WORKERS 0
#endif
#ifndef LOCAL // work-group size: 1 on cpu
#define LOCAL 64
#endif
#ifndef T
#define T 64
#endif
#ifndef PART
#define PART 0
#endif
#ifndef PAIR
#define PAIR 0
#endif
#ifndef COLUMN
#define COLUMN 0
#endif
#ifndef W_HALF
#define W_HALF 1
#endif
#include "record_units.clh"
#define N (PAIR ? CEIL_DIV(T, 16) * 32 : T)
#define STRIPS CEIL_DIV(N, 32)
#define EACH_ROW_OF(strip)                                                                    \
  for (int n = (strip)*32, j, p; j = PAIR ? n / 32 * 16 + n % 16 : n,                         \
           p = PART + (PAIR ? n / 16 % 2 : 0), n < (strip)*32 + 32;                           \
       n++)
#if COLUMN
#define ITEMS (CEIL_DIV(LENGTH, 16) * T)
#define WEIGHT_PARAM __global STORAGE(W_HALF) *w
#define WEIGHT_ARG w

void unpack_item(TICKET_PARAM int item, WEIGHT_PARAM) {
  const int j = item % T, block = item / T;
  for (int k = block * 16; k < block * 16 + 16; k += 8) {
    float8 v = 0.0f;
    if (j < COUNT && k < LENGTH) v = values_of(PART_OF(j, PART), UNIT_OF(k));
#define CLEAR(e) v.s##e = k + e < LENGTH ? v.s##e : 0.0f;
    EACH8(CLEAR)
    STORE4(W_HALF, v.lo, w, item * 16 + k % 16);
    STORE4(W_HALF, v.hi, w, item * 16 + k % 16 + 4);
  }
}
#elif BITS
#define EIGHTS (GROUPS_K * WORDS)
#define ITEMS (STRIPS * EIGHTS)
#if ZERO
#define WEIGHT_PARAM __global uint *w, __global half *scale, __global uchar *zero
#define WEIGHT_ARG w, scale, zero
#else
#define WEIGHT_PARAM __global uint *w, __global half *scale
#define WEIGHT_ARG w, scale
#endif

void unpack_item(TICKET_PARAM int item, WEIGHT_PARAM) {
  const int k = item % EIGHTS * 8, unit = UNIT_OF(k);
  EACH_ROW_OF(item / EIGHTS) {
    w[word_at(n, k)] = j < COUNT ? PART_OF(j, p)[unit] : 0;
    if (k % GROUP) continue;
    const size_t to = group_at(n, k);
    vstore_half(j < COUNT ? vload_half(GROUP_OF(unit), SCALES_OF(PART_OF(j, p))) : 0.0f, to, scale);
#if ZERO
    zero[to] = j < COUNT ? ZEROS_OF(PART_OF(j, p))[GROUP_OF(unit)] : 0;
#endif
  }
}
#else
#define EIGHTS CEIL_DIV(LENGTH, 8)
#define ITEMS (STRIPS * EIGHTS)
#define WEIGHT_PARAM __global half *w
#define WEIGHT_ARG w

void unpack_item(TICKET_PARAM int item, WEIGHT_PARAM) {
  const int k = item % EIGHTS * 8;
  EACH_ROW_OF(item / EIGHTS) {
    if (n >= CEIL_DIV(N, 16) * 16) break;
    const float8 v = j < COUNT ? values_of(PART_OF(j, p), UNIT_OF(k)) : (float8)(0.0f);
    __global half *to = w + ((size_t)(n / 16) * LENGTH + k) * 16 + n % 16;
#define PUT(e)                                                                                \
  if (k + e < LENGTH) vstore_half(v.s##e, e * 16, to);
    EACH8(PUT)
  }
}
#endif

void unpack_body(int id, int n, TICKET_PARAM WEIGHT_PARAM) {
  for (int item = first_item(id, n, ITEMS); item < first_item(id + 1, n, ITEMS); item++)
    unpack_item(TICKET_ARG item, WEIGHT_ARG);
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
unpack(TICKET_PARAM WEIGHT_PARAM) {
  unpack_body(get_global_id(0), get_global_size(0), TICKET_ARG WEIGHT_ARG);
}
