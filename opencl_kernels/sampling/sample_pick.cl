// tokens_B = ids[b, PAST+SEQ] = the next id of logits[b*ROWS+ROWS-1]; PAST += SEQ
//
//   Rules and arguments: see sampling_slices.clh         class generic; any V; last of three launches
// The only kernel of the three that writes `sym`: the next step's position needs no word from the
// host. The bins tell between which edges the cut lies. One pass over the weights lists those that
// may be kept, or if they are many those of the cut's bin, and sums the ones above it by parts of
// the ids; what is left to ask is asked of the list. Where even one bin has too many weights, passes
// before that part the bin anew.
#ifndef WG // work-items, a power of two up to 1024
#define WG 256
#endif
#define LISTED 1024 // weights that find room in local memory
#include "sampling_slices.clh"
#include "sampling_bins.clh"
#include "sampling_parts.clh"
#define IDS_BIT (1 << (31 - clz(V))) // the highest bit of an id

// This work-item's share of what a search asks of the list.
ulong found_by(const Search *s, __local const uint2 *list, int count) {
  ulong mine = 0;
  EACH(i, count) {
    const uint w = list[i].y;
    if (w >= s->probe) mine += COUNTS(s) ? 1 : w;
  }
  return mine;
}

// The largest id before which the sum over those listed is at most `target`, found bit by bit: the
// list has no order.
int find_listed(const Counted *what, __local const uint2 *list, int count, ulong target, TEAM) {
  uint id = 0;
  for (uint bit = count ? IDS_BIT : 0; bit; bit >>= 1) {
    ulong mine = 0;
    EACH(i, count) {
      const uint2 each = list[i];
      if (each.x < (id | bit)) mine += measure(what, each.y, each.x);
    }
    if (sum_of(mine, WITH_TEAM) <= target) id |= bit;
  }
  return (int)id;
}

float logprob_of(float logit, float top, __global const uint *masses) {
  ulong mass = 0;
  for (int g = 0; g < GROUPS; g++) mass += wide(masses[4 * g + 2], masses[4 * g + 3]);
  return logit - top - log((float)mass / (float)UNIT);
}

// What the weights from the first on say of a share `target` of their sum: where nothing is cut, in
// which slice the sum passes it. The target becomes one of the slice.
int slice_of(__global const uint *masses, ulong *target) {
  int g = 0;
  ulong mass = wide(masses[0], masses[1]);
  while (g < GROUPS - 1 && mass <= *target) {
    *target -= mass;
    g++;
    mass = wide(masses[4 * g], masses[4 * g + 1]);
  }
  return g;
}

// The id that is drawn; the search has only begun.
int draw(Search *s, const Options *o, __global const int *sampling, __global const uint *w,
         __global const uint *histogram, __global const uint *masses, int end, int b,
         __local uint *above, __local uint2 *list, __local uint *found, TEAM) {
  Bins bins = read_histogram(histogram, above, WITH_TEAM);
  search_bins(s, o, &bins, above);
  const int part = part_of_ids(V);
  int count = 0, all = 0;
  ulong mine = 0;
  while (s->step != DONE) {
    const int bin = bin_at(&bins, s->probe);
    const uint low = edge_of(&bins, bin), high = edge_of(&bins, bin + 1);
    const ulong over = above[bin + 1], mass_over = mass_above(above, bin + 1);
    all = above[bin] <= LISTED;
    const int lists = all || above[bin] - over <= LISTED;
    const Bins parts = lists ? bins : narrow(low, high);
    MEET;
    EACH(i, lists ? 0 : 3 * SUMS_OF) above[i] = 0;
    if (LANE == 0) *found = 0;
    MEET;
    mine = 0;
    OF_TEAM(i, 0, part, V) {
      const uint4 four = four_weights(w, i, V);
#define TAKE(weight, id)                                                                      \
  {                                                                                           \
    const uint each = weight;                                                                 \
    if (each >= high && !all) {                                                               \
      mine += each;                                                                           \
    } else if (each >= low) {                                                                 \
      const uint at = lists ? atomic_inc(found) : bin_at(&parts, each);                       \
      if (lists && at < LISTED) list[at] = (uint2)(id, each);                                 \
      if (!lists) atomic_inc(above + at);                                                     \
      if (!lists) ADD_WIDE(above + SUMS_OF + at, above + 2 * SUMS_OF + at, each)              \
    }                                                                                         \
  }
      TAKE(four.s0, i) TAKE(four.s1, i + 1) TAKE(four.s2, i + 2) TAKE(four.s3, i + 3)
    }
    MEET;
    count = lists ? min((int)*found, LISTED) : 0;
    const ulong more = all ? 0 : over, more_mass = all ? 0 : mass_over;
    while (lists && s->step != DONE && (all || (s->probe >= low && s->probe <= high))) {
      const ulong answer = sum_of(found_by(s, list, count), WITH_TEAM);
      advance(s, o, answer + (COUNTS(s) ? more : more_mass));
    }
    if (s->step != DONE) count = all = 0; // the cut is elsewhere
    for (int anew = !lists; anew; anew = 0) add_up(above, over, mass_over, WITH_TEAM);
    bins = parts;
    search_bins(s, o, &bins, above);
    for (int again = s->step != DONE && is_outside(&bins, s->probe); again; again = 0) {
      bins = read_histogram(histogram, above, WITH_TEAM);
      search_bins(s, o, &bins, above);
    }
  }
  // First the end of the ties that are kept, then the id: of what is listed, or of all.
  ulong target = s->ties;
  Counted what = {s->cut, 0, 1, V};
  int id = 0;
  for (int step = 0; step < 2; step++) {
    const int in_list = step ? all : count || target == 0;
    const int whole = step && s->cut == 0, slice = whole ? slice_of(masses, &target) : 0;
    const int first = whole ? first_item(slice, GROUPS, V) : 0;
    const int last = in_list ? 0 : whole ? first_item(slice + 1, GROUPS, V) : V;
    const int known = step && count && !all; // what is above the list; its own are added
    MEET;
    EACH(i, 2 * TEAMS) above[i] = 0;
    MEET;
    EACH(i, known ? count : 0) {
      const uint2 each = list[i];
      const int team = (int)each.x / part;
      const uint own = (uint)measure(&what, each.y, each.x);
      ADD_WIDE(above + team, above + TEAMS + team, own)
    }
    MEET;
    if (LANE % 4 == 0) mine += wide(above[LANE / 4], above[TEAMS + LANE / 4]);
    const int there = find(&what, w, first, last, target, known, mine, WITH_TEAM);
    id = find_listed(&what, list, in_list ? count : 0, target, WITH_TEAM);
    if (!in_list) id = there;
    if (step == 0) {
      const Counted kept = {s->cut, 0xffffffff, s->cut, s->ties ? id : 0};
      what = kept;
      target = target_of(s, sampling, end, b);
    }
  }
  return id;
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void sample_pick(__global int *sym, __global const float *logits, __global const int *sampling,
                 __global const float *group_tops, __global const int *top_ids,
                 __global const uint *weights, __global const uint *histogram,
                 __global const uint *masses, __global int *tokens, __global int *ids,
                 __global float *logprobs) {
  __local ulong sums[WG];
  __local float *const tops = 0; // no values are compared
  __local uint above[3 * SUMS_OF], found;
  __local uint2 list[LISTED];
  const int rows = ROWS, end = PAST + SEQ;
  for (int b = 0; b < B; b++) {
    const Options o = read_options(sampling, START(b), end);
    const Best best = best_of_slices(group_tops + 2 * b * GROUPS, top_ids + b * GROUPS);
    __global const uint *sums_of_slices = masses + 4 * b * GROUPS;
    int id = best.id;
    Search s = start_search(&o, best.id);
    for (int random = s.step != DONE; random; random = 0)
      id = draw(&s, &o, sampling, weights + (size_t)b * V, histogram + b * 3 * BINS,
                sums_of_slices, end, b, above, list, &found, WITH_TEAM);
    if (LANE == 0) {
      const size_t at = (size_t)b * (C + 1) + end;
      const float top = largest_logit(group_tops + 2 * b * GROUPS);
      if (o.logprobs)
        logprobs[at] = id < 0 ? 0.0f
                              : logprob_of(logits[((size_t)b * rows + rows - 1) * V + id], top,
                                           sums_of_slices);
      tokens[b] = ids[at] = id;
    }
    MEET;
  }
  if (LANE == 0) PAST = end;
}
