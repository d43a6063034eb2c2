"""Decoders that no fusion covers, each a few words away from the tiny decoder."""

from collections.abc import Sequence

from tiny_decoder import decoder_text

Changes = Sequence[tuple[str, str]]
CONTEXT = 32
SOFT_CAP = ("a1 = Mul(a0, scale)", "t0 = Mul(a0, scale)  t1 = Tanh(t0)  a1 = Mul(t1, two)")
PLAIN = (("qr = Add(qc, qs)", "qr = Identity(q)"), ("kr = Add(kc, ks)", "kr = Identity(k)"))
EMBEDDED = "h = Gather(table, input_ids)"
PLACES = ("<float[40, 32] table,", "<float[%d, 32] places, float[40, 32] table,")
CACHES = "float[%(B)s, 2, %(P)s, 8] cache_k, float[%(B)s, 2, %(P)s, 8] cache_v"
NEW = "new_k = Concat<axis = 2>(cache_k, kr)  new_v = Concat<axis = -2>(cache_v, v)"


def places(rows: int = CONTEXT) -> tuple[str, str]:
    """A table of learned positions."""
    return PLACES[0], PLACES[1] % rows


def looked_up(index: str) -> tuple[str, str]:
    """Positions are looked up and added to what tokens are."""
    return EMBEDDED, f"h0 = Gather(table, input_ids)  {index}  h = Add(h0, hp)"


def stored(order: Sequence[int], join: str) -> Changes:
    """Caches with their dimensions in another order; `join` extends them and reads them so."""
    dims = [("B", "2", "P", "8")[i] for i in order]
    after = [("B", "2", "T", "8")[i] for i in order]
    return (
        *(
            (f"float[B, 2, P, 8] {x}", f"float[{', '.join(dims)}] {x}")
            for x in ("cache_k", "cache_v")
        ),
        *((f"float[B, 2, T, 8] {x}", f"float[{', '.join(after)}] {x}") for x in ("new_k", "new_v")),
        (NEW, join),
        ("Unsqueeze(new_k, v2)", "Unsqueeze(all_k, v2)"),
        ("Unsqueeze(new_v, v2)", "Unsqueeze(all_v, v2)"),
        ("kshape = Shape(new_k)", "kshape = Shape(all_k)"),
    )


def joined(order: Sequence[int], axis: int) -> str:
    """New tokens join a cache in another order along an axis."""
    back = [list(order).index(i) for i in range(4)]
    return "  ".join(
        f"{x}_in = Transpose<perm = {[*order]}>({new})"
        f"  new_{x} = Concat<axis = {axis}>(cache_{x}, {x}_in)"
        f"  all_{x} = Transpose<perm = {back}>(new_{x})"
        for x, new in (("k", "kr"), ("v", "v"))
    )


TURNED = "  ".join(
    f"{x}p = Transpose<perm = [0, 2, 1, 3]>(cache_{x})  all_{x} = Concat<axis = 2>({x}p, {new})"
    f"  new_{x} = Transpose<perm = [0, 2, 1, 3]>(all_{x})"
    for x, new in (("k", "kr"), ("v", "v"))
)
SLOTS = 16
ATTENDED = decoder_text()[decoder_text().index("  kshape = Shape(new_k)") :]
ATTENDED = ATTENDED[: ATTENDED.index("  h1 = Add(h, o)")]
SEEN = """  real0 = Cast<to = 9>(attention_mask)  real1 = Unsqueeze(real0, v1)
  real2 = Unsqueeze(real1, v2)  sizes = Concat<axis = 0>(ub, v1, us, v1)
  real = Expand(real2, sizes)  flat = Concat<axis = 0>(ub, us, minus)"""


def written(cache: str, writes: str, attends: str) -> Changes:
    """Caches of SLOTS slots that TensorScatter writes into; Attention reads those that count."""
    return (
        ('["": 18]', '["": 24]'),
        ("[B, T] attention_mask", f"[B, {SLOTS}] attention_mask"),
        ("int64[B, S] position_ids,", "int64[B, S] position_ids, int64[B] at, int64[B] count,"),
        *(
            (f"float[B, 2, {n}, 8] {x}_{y}", f"float[{cache}] {x}_{y}")
            for x, n in (("cache", "P"), ("new", "T"))
            for y in "kv"
        ),
        (NEW, writes),
        (ATTENDED, f"{SEEN}  {attends}  o = MatMul(o2, wo)\n"),
    )


def scattered(writes: str, mask: str = "B, {n}") -> Changes:
    """Caches of CONTEXT slots, all of which attention reads, as transformers' static caches are."""
    kind = mask.format(n=CONTEXT)
    return (
        ("[B, T] attention_mask", f"[{kind}] attention_mask"),
        ("int64[B, S] position_ids,", "int64[B, S] position_ids, int64[S] cache_position,"),
        *(
            (f"float[B, 2, {n}, 8] {x}_{y}", f"float[B, 2, {CONTEXT}, 8] {x}_{y}")
            for x, n in (("cache", "P"), ("new", "T"))
            for y in "kv"
        ),
        ("int64[1] minus = {-1},", "int64[1] minus = {-1}, int64[4] along = {1, 1, -1, 1}, "
         "int64[4] texts = {-1, 1, 1, 1}, int64[1, 2, 1, 1] group = {0, 1}, "
         "int64[1, 1, 1, 8] element = {0, 1, 2, 3, 4, 5, 6, 7},"),
        (NEW, writes),
        ("before = Sub(total, seq)  index = Range(i0, seq, i1)  at0 = Add(index, before)", ""),
        ("at = Unsqueeze(at0, v1)", "at = Unsqueeze(cache_position, v1)"),
    )  # fmt: skip


SCATTERED_ROWS = "rows = Unsqueeze(cache_position, v1)" + "".join(
    f"  {x}_new = Transpose<perm = [2, 0, 1, 3]>({new})"
    f"  {x}_old = Transpose<perm = [2, 0, 1, 3]>(cache_{x})"
    f"  {x}_all = ScatterND({x}_old, rows, {x}_new)"
    f"  new_{x} = Transpose<perm = [1, 2, 0, 3]>({x}_all)"
    for x, new in (("k", "kr"), ("v", "v"))
)
INDICES = "slot0 = Reshape(cache_position, along)  full = Shape(kr)  slot = Expand(slot0, full)"
SCATTERED_ELEMENTS = (
    f"{INDICES}  new_k = ScatterElements<axis = 2>(cache_k, slot, kr)"
    "  new_v = ScatterElements<axis = 2>(cache_v, slot, v)"
)
SCATTERED_GRID = (
    f"{INDICES}  t0 = Range(i0, batch, i1)  t1 = Reshape(t0, texts)"
    + "".join(f"  {x}g = Expand({y}, full)" for x, y in zip("tge", ("t1", "group", "element"),
                                                             strict=True))
    + "".join(f"  {x}u = Unsqueeze({y}, v4)" for x, y in zip("tgse", ("tg", "gg", "slot", "eg"),
                                                              strict=True))
    + "  grid = Concat<axis = -1>(tu, gu, su, eu)"
    "  new_k = ScatterND(cache_k, grid, kr)  new_v = ScatterND(cache_v, grid, v)"
)  # fmt: skip
INTERLEAVED: Changes = (
    ("f4 = Concat<axis = -1>(f3, f3)",
     "fu = Unsqueeze(f3, v3)  fc = Concat<axis = 3>(fu, fu)  f4 = Reshape(fc, flat3)"),
    *((f"{x}a = Slice({x}, v0, v4, v3)  {x}b = Slice({x}, v4, end, v3)",
       f"{x}a = Slice({x}, v0, end, v3, v2)  {x}b = Slice({x}, v1, end, v3, v2)") for x in "qk"),
    *((f"{x}h = Concat<axis = -1>({x}n, {x}a)",
       f"{x}n5 = Unsqueeze({x}n, v4)  {x}a5 = Unsqueeze({x}a, v4)"
       f"  {x}5 = Concat<axis = 4>({x}n5, {x}a5)  {x}h = Reshape({x}5, flat4)") for x in "qk"),
    ("int64[1] minus = {-1},", "int64[1] minus = {-1}, int64[3] flat3 = {0, 0, 8}, "
     "int64[4] flat4 = {0, 0, 0, 8},"),
)  # fmt: skip
FROM_MASK = """c0 = Cast<to = 7>(attention_mask)  c1 = CumSum(c0, i1)  c2 = Mul(c1, c0)
  c3 = Add(c2, i1)  is0 = Shape(input_ids)  is1 = Gather(is0, v1)  is2 = Neg(is1)
  c4 = Slice(c3, is2, end, v1)  hp = Gather(places, c4)"""
ALIBI = ("a2 = Add(a1, bias)", "d0 = Sub(cols, at)  d1 = Cast<to = 1>(d0)  d2 = Mul(d1, slopes)"
         "  a1b = Add(a1, d2)  a2 = Add(a1b, bias)")  # fmt: skip
SLOPES = (
    "float two = {2.0},",
    "float two = {2.0}, float[1, 4, 1, 1] slopes = {1, 0.5, 0.25, 0.1},",
)
# T5's: near keys have a bucket each, farther ones share them by the logarithm of the distance.
BUCKETS = (
    "a2 = Add(a1, bias)",
    """d0 = Sub(cols, at)  d1 = Min(d0, i0)  d2 = Neg(d1)  near = Less(d2, exact)
  d3 = Cast<to = 1>(d2)  d4 = Div(d3, exactf)  d5 = Log(d4)  d6 = Div(d5, most)
  d7 = Mul(d6, exactf)  d8 = Cast<to = 7>(d7)  d9 = Add(d8, exact)  far = Min(d9, last_bucket)
  bucket = Where(near, d2, far)  b0 = Gather(buckets, bucket)
  b1 = Transpose<perm = [2, 0, 1]>(b0)  b2 = Unsqueeze(b1, v0)
  a1b = Add(a1, b2)  a2 = Add(a1b, bias)""",
)
DISTANCES = (
    "<float[40, 32] table,",
    "<float[8, 4] buckets, int64 exact = {4}, int64 last_bucket = {7}, float exactf = {4},"
    " float most = {1.3862944}, float[40, 32] table,",
)
DECODERS: dict[str, Changes] = {
    "as it is": (),
    "soft-capped scores": (SOFT_CAP,),
    "learned positions": (*PLAIN, places(), looked_up("hp = Gather(places, position_ids)")),
    "learned positions from the third row on": (
        *PLAIN, places(40),
        looked_up("at2 = Add(position_ids, i2)  hp = Gather(places, at2)"),
    ),
    "learned positions counted in the mask": (
        *PLAIN, places(40), looked_up(FROM_MASK), ("  int64[B, S] position_ids,\n", ""),
        ("f0 = Cast<to = 1>(position_ids)", "f0 = Cast<to = 1>(c4)"),
    ),
    "as many positions as tokens": (
        *PLAIN, places(40), looked_up("hp = Gather(places, position_ids)")),
    "sinusoids": (*PLAIN, ("float[1, 4, 1] frequencies", "float[1, 16, 1] frequencies"),
                  ("cos = Unsqueeze(cos0, v1)", "hs = Concat<axis = 2>(cos0, sin0)"),
                  ("sin = Unsqueeze(sin0, v1)", "hc = Slice(hs, v0, end, v2, v2)"),
                  ("h1 = Add(h, o)", "h10 = Add(h, o)  h1 = Add(h10, hc)"),
                  *((f"{x}{y} = Mul({z}, {w})", f"{x}{y} = Identity({z})")
                    for x in "qk" for y, z, w in (("c", x, "cos"), ("s", f"{x}h", "sin")))),
    "interleaved": INTERLEAVED,
    "interleaved, soft-capped": (*INTERLEAVED, SOFT_CAP),
    "ALiBi": (*PLAIN, ALIBI, SLOPES),
    "buckets of distances": (*PLAIN, BUCKETS, DISTANCES),
    "tokens first": (SOFT_CAP, *stored((0, 2, 1, 3), joined((0, 2, 1, 3), 1))),
    "tokens last": (SOFT_CAP, *stored((0, 1, 3, 2), joined((0, 1, 3, 2), 3))),
    "tokens first, fused": stored((0, 2, 1, 3), joined((0, 2, 1, 3), 1)),
    "tokens first, turned": (SOFT_CAP, *stored((0, 2, 1, 3), TURNED)),
    "places in the cache": (
        ("int64[B, S] position_ids", "int64[S] cache_position"),
        ("f0 = Cast<to = 1>(position_ids)",
         "cp = Unsqueeze(cache_position, v0)  f0 = Cast<to = 1>(cp)"),
    ),
    "places in the cache beside positions": (
        ("int64[B, S] position_ids,", "int64[B, S] position_ids, int64[S] cache_position,"),
        ("at = Unsqueeze(at0, v1)", "at = Unsqueeze(cache_position, v1)"),
    ),
    "written caches": written(
        f"B, 2, {SLOTS}, 8",
        "new_k = TensorScatter(cache_k, kr, at)  new_v = TensorScatter<axis = 2>(cache_v, v, at)",
        "o0 = Attention<is_causal = 1>(qr, new_k, new_v, real, , , count)"
        "  o1 = Transpose<perm = [0, 2, 1, 3]>(o0)  o2 = Reshape(o1, flat)",
    ),
    "written caches of merged heads": written(
        f"B, {SLOTS}, 16",
        "kt = Transpose<perm = [0, 2, 1, 3]>(kr)  km = Reshape(kt, flat)"
        "  qt = Transpose<perm = [0, 2, 1, 3]>(qr)  qm = Reshape(qt, flat)"
        "  new_k = TensorScatter<axis = 1>(cache_k, km, at)"
        "  new_v = TensorScatter<axis = -2>(cache_v, w0, at)",
        "o2 = Attention<q_num_heads = 4, kv_num_heads = 2, is_causal = 1>"
        "(qm, new_k, new_v, real, , , count)",
    ),
    "scattered caches": scattered(SCATTERED_ROWS),
    "scattered elements": scattered(SCATTERED_ELEMENTS),
    "scattered over a grid": scattered(SCATTERED_GRID),
    "sizes as numbers": (
        ("h1 = Add(h, o)", "n8 = Cast<to = 1>(total)  n9 = Log(n8)  o9 = Mul(o, n9)"
         "  zs = Shape(o)  z0 = ConstantOfShape<value = float[1] {0.5}>(zs)"
         "  z1 = Expand(two, zs)  o8 = Sub(o9, z0)  o7 = Mul(o8, z1)  h1 = Add(h, o7)"),
    ),
}  # fmt: skip


def decoder(name: str, **symbols: str) -> str:
    """The text of one of DECODERS."""
    source = decoder_text(**symbols)
    for old, new in DECODERS[name]:
        assert old in source, old
        source = source.replace(old, new)
    return source
