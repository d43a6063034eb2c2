"""Decoders whose rotary tables depend on the length of the text, as exporters spell it."""

from any_decoder import Changes
from tiny_decoder import decoder_text

EDGE = 12  # tokens of the longest text with the first tables
TOTAL = "ms = Shape(attention_mask)  all = Gather(ms, i1)  "
BRANCHES = """<then_branch = beyond () => (float[1, 4, 1] b) { b = Identity(others) },
  else_branch = within () => (float[1, 4, 1] w) { w = Identity(frequencies) }>"""
FREQUENCIES = {
    "of a shape": f"{TOTAL}over = Greater(all, edge)  fr = Where(over, others, frequencies)",
    "of positions": "last_at = ReduceMax<keepdims = 0>(position_ids)  count = Add(last_at, i1)"
    "  over = Greater(count, edge)  fr = Where(over, others, frequencies)",
    "of a shape, by branches": f"{TOTAL}over = Greater(all, edge)  fr = If(over) {BRANCHES}",
    # Dynamic NTK: the base grows with every token beyond the edge.
    "other ones for each length": f"{TOTAL}most = Max(all, edge)  mf = Cast<to = 1>(most)"
    "  ef = Cast<to = 1>(edge)  grown = Div(mf, ef)  base = Mul(grown, two)"
    "  fr = Pow(base, frequencies)",
}
TWO_TABLES = tuple(FREQUENCIES)[:3]


def long_decoder(name: str, edge: int = EDGE) -> str:
    """The text of a decoder with one of FREQUENCIES."""
    changes: Changes = (
        ("f2 = MatMul(frequencies, f1)", f"{FREQUENCIES[name]}  f2 = MatMul(fr, f1)"),
        ("float[1, 4, 1] frequencies,", "float[1, 4, 1] frequencies, float[1, 4, 1] others,"),
        ("int64 i0 = {0},", f"int64 edge = {{{edge}}}, int64 i0 = {{0}},"),
    )
    source = decoder_text()
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    return source
