"""What a plan's halves hold while it reads a text, and what follows from that."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from toolkit.errors import PocketError
from toolkit.executors.halves import NEAR
from toolkit.executors.interface import Executor
from toolkit.executors.text_checks import NOT_NUMBERS
from toolkit.plan.schema import Plan

HINT = "compile again with --calibrate FILE, a text like yours, or with --activations f32"
TOKENS = 64  # of the prompt that is read for it


def stores_halves(plan: Plan) -> bool:
    """Whether kernels hand each other halves, or KV states hold them."""
    stored = {buffer.dtype for buffer in plan.buffers if buffer.kind == "state"}
    return "f16" in stored | {each.dtype for phase in plan.phases for each in phase.scratch}


def count_halves(executor: Executor, ids: list[int]) -> dict[str, Any] | None:
    """Read ids and feed one more; None if the plan has no halves."""
    if not stores_halves(executor.plan):
        return None
    executor.start_halves()
    with suppress(PocketError):  # logits that are no numbers end it: the counts say why
        executor.prefill(ids[:-1] or ids, 0)
        if len(ids) > 1:
            executor.step(ids[-1], len(ids) - 1)
    counts = executor.take_halves()
    unsafe = [each for each in counts if each["near"] or each["not_finite"]]
    return {"values": len(counts), "unsafe": unsafe}


@contextmanager
def naming_halves(figures: Mapping[str, Any] | None) -> Iterator[None]:
    """Name the halves that are no numbers in the error for logits that are none."""
    try:
        yield
    except PocketError as error:
        lost = [each for each in (figures or {}).get("unsafe", ()) if each["not_finite"]]
        if not lost or not error.what.endswith(NOT_NUMBERS):
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
