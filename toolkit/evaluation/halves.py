"""What halves hold while a plan runs: how many are no numbers, or near the end of their range."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.errors import PocketError
from toolkit.executors.dump import Dumped
from toolkit.executors.interface import Executor
from toolkit.executors.text_checks import NotNumbers
from toolkit.plan.schema import Plan

NEAR = 32_000  # half of what a half holds: another text may well be beyond it
HINT = "compile again with --calibrate FILE, a text like yours, or with --activations f32"
TOKENS = 64  # of the prompt that is read for it


@dataclass
class Count:
    """Elements of one stored value, over all steps that write it."""

    largest: float = 0.0  # of those that are numbers
    near: int = 0  # larger than NEAR
    not_finite: int = 0


@dataclass
class Halves:
    """Counts of every value that a plan stores as halves; a sink of dumps."""

    counts: dict[str, Count] = field(default_factory=dict)

    def __call__(self, dumped: Dumped) -> None:
        """Count a tensor that a step has written."""
        if dumped.value.dtype != np.float16 or not dumped.value.size:
            return
        count = self.counts.setdefault(dumped.tensor, Count())
        sizes = np.abs(dumped.value.astype(np.float32))
        finite = np.isfinite(sizes)
        count.not_finite += int(np.size(sizes) - finite.sum())
        count.largest = max(count.largest, float(sizes.max(initial=0, where=finite)))
        count.near += int(np.sum(finite & (sizes > NEAR)))

    def figures(self) -> dict[str, Any]:
        """How many values were looked at, and those that are not safe, in the order of steps."""
        unsafe = ((name, each) for name, each in self.counts.items() if each.near + each.not_finite)
        found = [{"value": name, **vars(count)} for name, count in unsafe]
        return {"values": len(self.counts), "unsafe": found}


def stores_halves(plan: Plan) -> bool:
    """Whether kernels hand each other halves, or KV states hold them."""
    stored = {buffer.dtype for buffer in plan.buffers if buffer.kind == "state"}
    return "f16" in stored | {each.dtype for phase in plan.phases for each in phase.scratch}


def count_halves(executor: Executor, ids: list[int]) -> dict[str, Any] | None:
    """Read ids and feed one more; None if the plan has no halves, or the executor can't look."""
    from toolkit.executors.host import HostExecutor  # OpenCL takes time to load

    if not isinstance(executor, HostExecutor) or not stores_halves(executor.plan):
        return None
    halves = Halves()
    # logits that are no numbers end it: the counts say where that began
    with executor.watched(halves), suppress(NotNumbers):
        executor.prefill(ids[:-1] or ids, 0)
        if len(ids) > 1:
            executor.step(ids[-1], len(ids) - 1)
    return halves.figures()


@contextmanager
def naming_halves(figures: Mapping[str, Any] | None) -> Iterator[None]:
    """Name the halves that are no numbers in the error for logits that are none."""
    try:
        yield
    except NotNumbers as error:
        lost = [each for each in (figures or {}).get("unsafe", ()) if each["not_finite"]]
        if not lost:
            raise
        names = ", ".join(each["value"] for each in lost[:3])
        because = f"{len(lost)} values hold elements that no half holds: {names}"
        raise PocketError(error.what, because, HINT) from error


def half_lines(figures: Mapping[str, Any] | None) -> Iterator[str]:
    """The counts for people."""
    if figures is None:
        return
    if not figures["unsafe"]:
        yield f"halves: none of {figures['values']} stored values goes beyond {NEAR}"
        return
    yield f"halves: {len(figures['unsafe'])} of {figures['values']} stored values are not safe"
    for each in figures["unsafe"]:
        counts = f"{each['not_finite']} not finite, {each['near']} beyond {NEAR}"
        yield f"  {each['value']}: {counts}, largest {each['largest']:.5g}"
    yield f"  {HINT}"
