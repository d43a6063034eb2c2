"""What a variant's images must be: views of whole texels that nobody writes meanwhile."""

from collections.abc import Iterator

from toolkit.errors import PocketError
from toolkit.plan.checks.values import index_problems
from toolkit.plan.reader import damaged
from toolkit.plan.schema import TEXEL, Dispatch, Phase, Plan, Ref, Variant


def image_problems(
    at: str, v: Variant, step: Dispatch, phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    """Of one variant, `at` its path of keys."""
    written = {step.args[number] for number in step.writes}
    for i, number in enumerate(v.images):
        here = f"{at}.images[{i}]"
        yield from index_problems(here, number, len(step.args))
        ref = step.args[number]
        if len(ref) == 1:
            yield damaged(here, f"no image is of {ref[0]!r}")
        if number in v.images[:i]:
            yield damaged(here, f"argument {number} is an image already")
        if ref in written:
            yield damaged(here, f"argument {number} is written, and what an image shows is not")
        if any(size % TEXEL for size in place_of(ref, phase, plan)):
            yield damaged(here, f"argument {number} is no whole texels of {TEXEL} bytes")
    if v.images and "images" not in v.requires:
        yield damaged(f"{at}.requires", "it has images, and does not require them")


def place_of(ref: Ref, phase: Phase, plan: Plan) -> tuple[int, int]:
    """Where an argument begins in the memory that it lies in, and its bytes."""
    kind, index = ref[0], int(ref[-1])
    if kind == "scratch":
        return phase.scratch[index].offset or 0, phase.scratch[index].bytes
    if kind == "weight":
        return plan.weights[index].offset, plan.weights[index].bytes
    return 0, plan.buffers[index].bytes
