"""Products of few rows that don't depend on each other share a launch, as of queries and of keys.

Not those of one row: they are rather one product, of matrices that the passes merge. Nor those of
which the smaller one would slow down the other.
"""

from __future__ import annotations

from opencl_kernels import FAMILIES
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.matmul.pair import Pair, keeps_runs, pair_of
from toolkit.compiler.lowering.drafts import AnyDraft, Draft, Steps
from toolkit.compiler.lowering.variants import Settings, best_knobs


def with_pairs(steps: Steps, settings: Settings) -> list[AnyDraft]:
    """The same with two products in one launch wherever one follows the other and can share it."""
    made = list[AnyDraft]()
    for step in steps:
        joint = _joint(made[-1], step, settings) if made else None
        if joint is None:
            made.append(step)
        else:
            made[-1] = joint
    return made


def _joint(first: AnyDraft, second: AnyDraft, settings: Settings) -> Draft | None:
    """Two products as one dispatch; None where they aren't, or the second one needs the first."""
    if not (isinstance(first, Draft) and isinstance(second, Draft)):
        return None
    if (first.family, second.family) != ("gemv", "gemv") or second.must_follow(first):
        return None
    a, b = first.case, second.case
    assert isinstance(a, Product) and isinstance(b, Product)
    same_row = (first.refs["x"], a.X0) == (second.refs["x"], b.X0)
    pair = None if same_row else pair_of(a, b)
    if pair is None or not _gains(pair, settings):
        return None
    drafts = enumerate((first, second))
    refs = {f"{name}_{j}": ref for j, each in drafts for name, ref in each.refs.items()}
    return Draft(f"{first.name} + {second.name}", "gemv_pair", pair, refs)


def _gains(pair: Pair, settings: Settings) -> bool:
    """Whether the larger product is about as fast as alone, so that a launch is saved."""
    return keeps_runs(pair, best_knobs(FAMILIES["gemv_pair"], pair, settings))
