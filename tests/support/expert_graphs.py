"""Mixtures of experts as exporters spell them, in ONNX text: E experts, k chosen, x [1, S, 6]."""

E, D, F, K = 4, 6, 5, 2

ROUTER = """
  rows = Reshape (x, flat)
  logits = MatMul (rows, router)
  odds = Softmax <axis = -1> (logits)
  gates, indices = TopK <axis = -1> (odds, k)
"""
GLU = """
  g{e} = MatMul ({x}, gate{e})
  s{e} = Sigmoid (g{e})
  a{e} = Mul (g{e}, s{e})
  u{e} = MatMul ({x}, up{e})
  ub{e} = Add (u{e}, bias{e})
  h{e} = Mul (a{e}, ub{e})
  o{e} = MatMul (h{e}, down{e})
"""
WEIGHED = """
  e{e} = Constant <value_int = {e}> ()
  is{e} = Equal (indices, e{e})
  f{e} = Cast <to = 1> (is{e})
  p{e} = Mul (gates, f{e})
  share{e} = ReduceSum <keepdims = 1> (p{e}, last)
  y{e} = Mul (o{e}, share{e})
"""
CHOSEN = """
  e{e} = Constant <value_int = {e}> ()
  m{e} = Gather <axis = 0> (turned, e{e})
  b{e} = Cast <to = 9> (m{e})
  n{e} = NonZero (b{e})
  t{e} = Transpose <perm = [1, 0]> (n{e})
  first{e}, second{e} = Split <axis = 1, num_outputs = 2> (t{e})
  tokens{e} = Squeeze ({token}{e}, one)
  slots{e} = Squeeze ({slot}{e}, one)
  x{e} = Gather <axis = 0> (rows, tokens{e})
"""
ROWS_OF_ONE = """once{e} = Unsqueeze (rows, zero)
  some{e} = Gather <axis = 1> (once{e}, tokens{e})
  x{e} = Reshape (some{e}, flat)"""
SCATTERED = """
  start{e} = Mul (tokens{e}, k)
  place{e} = Add (slots{e}, start{e})
  gate_rows{e} = Gather <axis = 0> (flat_gates, place{e})
  share{e} = Unsqueeze (gate_rows{e}, last)
  w{e} = Mul (o{e}, share{e})
  size{e} = Shape (w{e})
  column{e} = Unsqueeze (tokens{e}, one)
  wide{e} = Expand (column{e}, size{e})
  y{e} = ScatterElements <axis = 0> (zeros, wide{e}, w{e})
"""
HEAD = """<ir_version: 10, opset_import: ["": 20]> g (float[1, S, 6] x) => ({output}) <
  int64[2] flat = {{-1, 6}}, int64[1] k = {{2}}, int64[1] last = {{-1}}, int64[1] one = {{1}},
  int64[1] two = {{2}}, int64[2] upright = {{-1, 1}},
  int64[1] zero = {{0}}, int64[2] zero_one = {{0, 1}}, float[6, 4] router{weights}> {{ {body} }}"""


def _weights() -> str:
    shapes = {"gate": "6, 5", "up": "6, 5", "bias": "5", "down": "5, 6"}
    return "".join(f", float[{s}] {name}{e}" for e in range(E) for name, s in shapes.items())


def _sum(first: str, order: list[int]) -> str:
    lines, total = [], first
    for i, e in enumerate(order):
        name = "y" if i == len(order) - 1 else f"sum{i}"
        lines.append(f"{name} = Add ({total}, y{e})" if total else "")
        total = name if total else f"y{e}"
    return "\n  ".join(lines)


def weighed(order: list[int]) -> str:
    """Every expert computes every token, as mobius writes it."""
    parts = [GLU.format(e=e, x="rows") + WEIGHED.format(e=e) for e in range(E)]
    body = ROUTER + "".join(parts) + _sum("", order)
    return HEAD.format(output="float[S, 6] y", weights=_weights(), body=body)


def scattered(perm: str = "2, 0, 1", rows_of_one: bool = False) -> str:
    """Every expert computes the tokens that chose it, as optimum writes it.

    rows_of_one  as of Qwen3-MoE: rows are gathered from [1, M, K], gates from [M, k, 1]
    """
    token, slot = ("first", "second") if perm == "2, 0, 1" else ("second", "first")
    begin = f"""
  depth = Constant <value_int = {E}> ()
  hot = OneHot <axis = -1> (indices, depth, zero_one)
  turned = Transpose <perm = [{perm}]> (hot)
  flat_gates = Reshape (gates, last)
  all = Shape (rows)
  zeros = ConstantOfShape <value = float[1] {{0}}> (all)
"""
    chosen, weighed = CHOSEN, SCATTERED
    if rows_of_one:
        begin = begin.replace("Reshape (gates, last)", "Flatten <axis = 2> (deep)")
        begin = "  deep = Unsqueeze (gates, two)" + begin
        chosen = CHOSEN.replace("x{e} = Gather <axis = 0> (rows, tokens{e})", ROWS_OF_ONE)
        upright = "Reshape (gate_rows{e}, upright)"
        weighed = SCATTERED.replace("Unsqueeze (gate_rows{e}, last)", upright)
    parts = [
        chosen.format(e=e, token=token, slot=slot)
        + GLU.format(e=e, x=f"x{e}")
        + weighed.format(e=e)
        for e in range(E)
    ]
    body = ROUTER + begin + "".join(parts) + _sum("zeros", list(range(E)))
    return HEAD.format(output="float[S, 6] y", weights=_weights(), body=body)


def gathered(op: str, side: str) -> str:
    """Matrices are gathered, as dynamo writes it; `side`: where they stand in the product."""
    gather = "Gather <axis = 0> (table, flat_indices)"
    if op == "GatherND":
        gather = "GatherND (table, deep)"
    left = side == "left"
    body = f"""{ROUTER}
  thrice = Unsqueeze (rows, one)
  copies = Tile (thrice, twice)
  repeated = Reshape (copies, flat)
  flat_indices = Reshape (indices, last)
  deep = Unsqueeze (flat_indices, last)
  chosen = {gather}
  vector = Unsqueeze (repeated, {"last" if left else "one"})
  product = MatMul ({"chosen, vector" if left else "vector, chosen"})
  y = Squeeze (product, {"last" if left else "one"})
"""
    table = "4, 5, 6" if left else "4, 6, 5"
    weights = f", float[{table}] table, int64[3] twice = {{1, 2, 1}}"
    return HEAD.format(output="float[R, 5] y", weights=weights, body=body)


ALL = f"""{ROUTER}
  all = Shape (logits)
  none = ConstantOfShape <value = float[1] {{0}}> (all)
  scattered = ScatterElements <axis = 1> (none, indices, gates)
  tall = Tile (rows, times)
  each = Reshape (tall, by_expert)
  both = MatMul (each, first)
  biased = Add (both, first_bias)
  gate = Slice (biased, zero, far, two, two)
  up = Slice (biased, one, far, two, two)
  low = Clip (gate, , limit)
  s = Sigmoid (low)
  a = Mul (low, s)
  more = Add (up, limit)
  h = Mul (more, a)
  o = MatMul (h, second)
  ob = Add (o, second_bias)
  o4 = Reshape (ob, four)
  across = Transpose <perm = [1, 0]> (scattered)
  a3 = Reshape (across, three)
  a4 = Unsqueeze (a3, last)
  w = Mul (o4, a4)
  y = ReduceSum <keepdims = 0> (w, zero)
"""
ALL_WEIGHTS = (
    ", int64[2] times = {4, 1}, int64[3] by_expert = {4, -1, 6}, "
    "int64[1] far = {9223372036854775807}, int64[4] four = {4, 1, -1, 6}, "
    "int64[3] three = {4, 1, -1}, float limit = {0.5}, float[4, 6, 10] first, "
    "float[4, 1, 10] first_bias, float[4, 5, 6] second, float[4, 1, 6] second_bias"
)
TOGETHER = HEAD.format(output="float[1, S, 6] y", weights=ALL_WEIGHTS, body=ALL)


# A layer of tiny_decoder.py: its FFN, and what chosen experts compute in its place.
FFN = """gate = MatMul(y, wg)  up = MatMul(y, wu)  sg = Sigmoid(gate)  act = Mul(gate, sg)
  mix = Mul(act, up)  down = MatMul(mix, wd)"""
COMPUTED = """\
  up3 = Gather<axis = 0>(ups, chosen)  row = Unsqueeze(y, v2)  column = Unsqueeze(row, minus)
  product = MatMul(up3, column)  both = Squeeze(product, minus)
  gate, up = Split<axis = -1, num_outputs = 2>(both)  sg = Sigmoid(gate)  act = Mul(gate, sg)
  mix = Mul(act, up)  mixed = Unsqueeze(mix, minus)  down3 = Gather<axis = 0>(downs, chosen)
  down0 = MatMul(down3, mixed)  outputs = Squeeze(down0, minus)
"""
