// How an id is chosen, as far as one work-item can tell: what both classes of the sample kernel share.
// It stands behind common.cl.
//
//   penalties -> temperature -> top-k -> top-p -> min-p -> draw, in the order of the ids
//   weight_i = floor(2^30 exp((value_i - largest) / temperature))
//
// Weights are integers, since these come to the same sum in any order: every device and every
// work-group size draws the same id. `counts` holds how often the text has each id, then the
// weights. Equal weights are ties; of those the lower ids are kept.
#define LOWEST (-3.402823466e38f)
#define UNIT 1073741824u                 // the largest weight
#define LOG2_E 1.44269504f
#define WEIGHT(type, value, top, scale)                                                       \
  convert_##type(exp2(((value) - (top)) * (scale)) * (float)UNIT)
#define PENALISED(v, count, o)                                                                \
  (((v) > 0.0f ? (v) / (o)->repeat : (v) * (o)->repeat) - (o)->flat - (o)->each * (count))

// `sampling`: 0 temperature, 1 top_k, 2 top_p, 3 min_p, 4 repetition, 5 presence, 6 frequency,
// 7, 8 seed, 9 tokens that penalties look back (0: all), 10 logprobs wanted; floats as their bits.
typedef struct {
  float temperature, top_p, min_p, repeat, flat, each;
  int top_k, first, last;                // first, last: the positions that penalties look at
  int penalised, greedy, logprobs;
} Options;

Options read_options(__global const int *s, int start, int end) {
  Options o;
  o.temperature = as_float(s[0]);
  o.top_k = s[1];
  o.top_p = as_float(s[2]);
  o.min_p = as_float(s[3]);
  o.repeat = s[4] == 0 ? 1.0f : as_float(s[4]);    // a buffer of zeros is greedy
  o.flat = as_float(s[5]);
  o.each = as_float(s[6]);
  o.penalised = o.repeat != 1.0f || o.flat != 0.0f || o.each != 0.0f;
  o.first = s[9] > 0 ? max(start, end - s[9]) : start;
  o.last = o.penalised ? end : o.first;
  o.greedy = o.temperature <= 0.0f || o.top_k == 1 || o.top_p <= 0.0f;
  o.logprobs = s[10];
  return o;
}

// The first word of Philox4x32-10. Source: Salmon et al., "Parallel Random Numbers: As Easy as
// 1, 2, 3" (2011), section 3.3.
uint philox(uint key0, uint key1, uint position, uint row) {
  uint c0 = position, c1 = row, c2 = 0, c3 = 0;
  for (int i = 0; i < 10; i++) {
    const uint high0 = mul_hi(0xD2511F53u, c0), high2 = mul_hi(0xCD9E8D57u, c2);
    const uint low0 = 0xD2511F53u * c0, low2 = 0xCD9E8D57u * c2;
    c0 = high2 ^ c1 ^ key0;
    c1 = low2;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c0;
}

// floor(total * share / 2^24) without overflow
ulong part_of(ulong total, uint share) {
  return (total >> 24) * share + (((total & 0xffffff) * share) >> 24);
}

// Which weights are kept: those above `cut`, and the first `ties` that equal it. The k-th largest,
// and the largest with mass `goal` from it on, are found bit by bit: while `step` is not DONE, the
// caller tells `advance` how many weights (COUNTS) are at least `probe`, or what they sum to.
enum { TOP_K, TIES, WHOLE, TOP_P, REST, MASS, DONE };
#define COUNTS(search) ((search)->step <= TIES)

typedef struct {
  int step;
  uint cut, bit, probe;
  ulong ties, goal, mass;                // mass: of all kept, once it is DONE
} Search;

Search start_search(const Options *o, int best_id) {
  Search s = {TOP_K, 0, UNIT, UNIT, 0, 0, 0};
  if (o->top_k <= 0 || o->top_k >= V) {  // all
    s.step = WHOLE;
    s.probe = 1;
  }
  if (o->greedy || best_id < 0) s.step = DONE;
  return s;
}

void look_above(Search *s, int step) {
  s->step = step;
  s->probe = s->cut + 1;
}

// Answers whether there is a bit left to decide.
bool next_bit(Search *s, bool reached) {
  if (reached) s->cut |= s->bit;
  s->bit >>= 1;
  s->probe = s->cut | s->bit;
  return s->bit > 0;
}

// The last step but MASS: min-p may raise the cut.
void finish(Search *s, const Options *o) {
  const uint least = (uint)ceil(o->min_p * (float)UNIT);
  if (least > s->cut + 1 || (least > s->cut && s->ties)) {
    s->cut = least - 1;
    s->ties = 0;
  }
  look_above(s, MASS);
}

void advance(Search *s, const Options *o, ulong found) {
  const ulong k = o->top_k;
  if (s->step == TOP_K && found == k) {
    s->cut = s->probe - 1;
    look_above(s, WHOLE);
  } else if (s->step == TOP_K) {
    if (!next_bit(s, found > k)) look_above(s, TIES);
  } else if (s->step == TIES) {
    s->ties = k - found;
    look_above(s, WHOLE);
  } else if (s->step == WHOLE) {         // the mass that top-k leaves
    s->goal = max(part_of(found + s->ties * s->cut, (uint)(o->top_p * 16777216.0f)), (ulong)1);
    if (o->top_p >= 1.0f) {
      finish(s, o);
    } else if (found < s->goal) {
      s->ties = min(s->ties, (s->goal - found + s->cut - 1) / s->cut);
      finish(s, o);
    } else {
      s->cut = 0;
      s->bit = s->probe = UNIT;
      s->step = TOP_P;
    }
  } else if (s->step == TOP_P) {
    if (!next_bit(s, found >= s->goal)) look_above(s, REST);
  } else if (s->step == REST) {
    s->ties = (s->goal - found + s->cut - 1) / s->cut;
    finish(s, o);
  } else {
    s->mass = found + s->ties * s->cut;
    s->step = DONE;
  }
}

// The least weight that is kept, once the ties not wanted are zero.
uint least_kept(const Search *s) {
  return s->ties ? s->cut : s->cut + 1;
}

ulong target_of(const Search *s, __global const int *sampling, int position, int row) {
  return part_of(s->mass, philox(sampling[7], sampling[8], position, row) >> 8);
}
