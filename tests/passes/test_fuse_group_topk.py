"""pocket.GroupTopK: random routers that choose by groups, in the spellings of exporters."""

from dataclasses import asdict, dataclass

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import missed, op_types, same_outputs, text

from onnx_passes.fuse_group_topk import fuse_group_topk
from onnx_passes.ir.infer import infer

ROUTER = """
<ir_version: 10, opset_import: ["": 20]> g (float[S, {E}] x) => (values, indices, gates)
<int64[2] whole = {{-1, {E}}}, int64[3] apart = {{-1, {G}, {size}}}, int64[1] last = {{-1}},
 int64[1] best = {{{best}}}, int64[1] kept = {{{kept}}}, int64[1] k = {{{k}}}, int64 zero = {{0}},
 float[{E}] bias, float fill = {{{fill}}}, float none = {{0}}, float one = {{1}}, bool no = {{0}},
 bool yes = {{1}}, int64[1] once = {{1}}>
{{
  odds = Sigmoid (x)
  scores = Add (odds, bias)
  by_group = Reshape (scores, apart)
  {counts}
  most, chosen = TopK <axis = -1, sorted = 0> (counts, kept)
  all = Shape (counts)
  some = Shape (chosen)
  zeros = Expand ({off}, all)
  ones = Expand ({on}, some)
  marks = ScatterElements <axis = 1> (zeros, chosen, ones)
  upright = Unsqueeze (marks, last)
  wide = Shape (by_group)
  spread = Expand (upright, wide)
  flat = Reshape (spread, whole)
  {left}
  values, indices = TopK <axis = -1> (left, k)
  gates = GatherElements <axis = 1> (odds, indices)
}}
"""
COUNTS = {
    "greatest": """sums, where = TopK <axis = -1> (by_group, best)
  counts = ReduceSum <keepdims = 0> (sums, last)""",
    "columns": """sums, where = TopK <axis = -1> (by_group, best)
  column = ReduceSum <keepdims = 1> (sums, last)  counts = Squeeze (column, last)""",
    "max": "counts = ReduceMax <keepdims = 0> (by_group, last)",
    "first": """sums, where = TopK <axis = -1> (by_group, once)
  counts = Squeeze (sums, last)""",
}
LEFT = {
    "not": "flags = Cast <to = 9> (flat)  off = Not (flags)  left = Where (off, fill, scores)",
    "kept": "flags = Cast <to = 9> (flat)  left = Where (flags, scores, fill)",
    "early": "left = Where (flat, scores, fill)",
    "masked": "left = Where (flat, fill, scores)",
}


@dataclass(frozen=True)
class Router:
    """Sizes and spelling of one."""

    E: int
    G: int
    best: int
    kept: int
    k: int
    fill: float
    counts: str
    left: str

    def text(self) -> str:
        """The graph."""
        truths = self.left in ("early", "masked")
        off, on = ("no", "yes") if truths else ("none", "one")
        off, on = (on, off) if self.left == "masked" else (off, on)
        spelled = {"counts": COUNTS[self.counts], "left": LEFT[self.left]}
        sizes = asdict(self) | {"size": self.E // self.G, "off": off, "on": on}
        return ROUTER.format(**sizes | spelled)


def random_router(seed: int) -> Router:
    dice = np.random.default_rng(seed)
    groups, size = int(dice.integers(2, 9)), int(dice.integers(2, 12))
    counts = str(dice.choice(list(COUNTS)))
    return Router(
        E=groups * size,
        G=groups,
        best=int(dice.integers(1, size + 1)),
        kept=int(dice.integers(1, groups)),
        k=int(dice.integers(1, groups * size + 1)),
        fill=float(dice.choice([0.0, -100.0, 0.75])),
        counts=counts,
        left=str(dice.choice(list(LEFT))),
    )


def ready(source: str) -> ir.Model:
    model = text(source)
    infer(model)
    return model


def of_ties(router: Router, rows: int) -> dict[str, np.ndarray]:
    """Few different scores."""
    dice = np.random.default_rng(router.E)
    return {"x": dice.integers(-2, 3, (rows, router.E)).astype(np.float32)}


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(n, marks=pytest.mark.slow) for n in range(8, 16))]
)
def test_random_routers_choose_as_before(seed: int) -> None:
    router = random_router(seed)
    for rows, ties in ((1, False), (7, False), (33, True)):
        model = ready(router.text())
        with same_outputs(model, of_ties(router, rows) if ties else None, S=rows):
            outcome = fuse_group_topk(model)
            assert (outcome.rewrites, outcome.misses) == (1, ()), router
        assert op_types(model).count("GroupTopK") == 1 and "TopK" not in op_types(model)


def test_where_all_groups_are_kept_there_are_none() -> None:
    model = ready(Router(12, 3, 2, 3, 4, 0.0, "greatest", "not").text())
    with same_outputs(model, S=5):
        assert fuse_group_topk(model).rewrites == 1
    assert op_types(model).count("TopK") == 1 and "GroupTopK" not in op_types(model)


USUAL = Router(12, 3, 2, 2, 4, 0.0, "greatest", "kept")
CHANGES = {
    "other scores": ("Where (flags, scores,", "Where (flags, x,", "by other scores"),
    "the least groups": ("sorted = 0>", "sorted = 0, largest = 0>", "not the best"),
    "the least scores": ("= TopK <axis = -1> (left", "= TopK <largest = 0> (left", "the least"),
    "the sum of the least": ("TopK <axis = -1> (by", "TopK <largest = 0> (by", "not known"),
    "other marks": ("float one = {1}", "float one = {0}", "ones among zeros"),
    "turned marks": ("Where (flags, scores, fill)", "Where (flags, fill, scores)", "ones among"),
}


@pytest.mark.parametrize(("old", "new", "reason"), CHANGES.values(), ids=CHANGES)
def test_what_differs_is_left_with_a_reason(old: str, new: str, reason: str) -> None:
    source = USUAL.text()
    assert source.count(old) == 1
    rewrites, misses = missed(fuse_group_topk, ready(source.replace(old, new)))
    assert rewrites == 0 and any(reason in miss for miss in misses), misses
