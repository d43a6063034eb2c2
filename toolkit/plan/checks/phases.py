"""What the phases of a plan must be: their bounds, scratch memory, steps and variants."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from toolkit.errors import PocketError
from toolkit.plan.arena import lifetimes, overlap
from toolkit.plan.checks.images import image_problems
from toolkit.plan.checks.values import (
    expr_problems,
    index_problems,
    size_problems,
    storage_problems,
)
from toolkit.plan.expr import Box, divisor, maximum
from toolkit.plan.reader import damaged
from toolkit.plan.schema import (
    FEATURES,
    HOST_OPS,
    Dispatch,
    HostStep,
    Phase,
    Plan,
    Ref,
    Scratch,
    Step,
    Variant,
)

QUEUES = 16
INT32_MAX = 2**31 - 1
MOST_ITEMS = 2**32 - 1  # of a launch, in each dimension
NEVER_WRITTEN = ("weight", "ticket", "slots")
Words: TypeAlias = tuple[str, ...]  # references by themselves
OUTSIDE: Words = ("symbols",)


def phase_problems(at: str, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    """Of one phase, `at` its path of keys."""
    box = plan.box()
    for name, (low, high) in phase.bounds.items():
        if name not in box:
            yield damaged(f"{at}.bounds.{name}", "there is no such symbol with one value")
        if not box[name][0] <= low <= high <= (box[name][1] or 0):
            yield damaged(f"{at}.bounds.{name}", f"[{low}, {high}] is not inside {box[name]}")
    box = plan.box(phase)
    yield from size_problems(f"{at}.arena_bytes", phase.arena_bytes)
    if phase.cooperative is not None:
        number = phase.cooperative.program
        yield from index_problems(f"{at}.cooperative.program", number, len(plan.programs))
    for i, s in enumerate(phase.scratch):
        yield from _scratch_problems(f"{at}.scratch[{i}]", s, phase, plan)
    for i, step in enumerate(phase.steps):
        yield from _step_problems(f"{at}.steps[{i}]", step, phase, plan, box)
    yield from _overlaps(at, phase)


def _scratch_problems(at: str, s: Scratch, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    box = plan.box(phase)
    yield from expr_problems(f"{at}.size", s.size, box)
    if s.bytes < maximum(s.size, box):
        yield damaged(f"{at}.bytes", f"{s.bytes} are too few for {maximum(s.size, box)}")
    yield from storage_problems(at, s.dtype, s.shape, s.bytes, box)
    if s.offset is None:
        yield damaged(f"{at}.offset", "the key is missing")
    elif s.offset < 0 or s.offset % plan.profile["align"]:
        yield damaged(f"{at}.offset", f"{s.offset} is no multiple of {plan.profile['align']}")
    elif s.offset + s.bytes > phase.arena_bytes:
        yield damaged(at, f"it ends at {s.offset + s.bytes}, after the arena's end")


def _overlaps(at: str, phase: Phase) -> Iterator[PocketError]:
    """Two scratch tensors that share bytes while both are in use."""
    if pair := overlap(lifetimes(phase), [s.offset or 0 for s in phase.scratch]):
        names = " and ".join(repr(phase.scratch[i].name) for i in pair)
        yield damaged(f"{at}.scratch[{pair[1]}].offset", f"{names} overlap while both are in use")


def _step_problems(
    at: str, step: Step, phase: Phase, plan: Plan, box: Box
) -> Iterator[PocketError]:
    if not 0 <= step.queue < QUEUES:
        yield damaged(f"{at}.queue", f"{step.queue} is no queue")
    if isinstance(step, HostStep):
        yield from _host_problems(at, step, phase, plan)
    if isinstance(step, Dispatch):
        yield from dispatch_problems(at, step, phase, plan, box)


def _argument_problems(
    at: str, args: Sequence[Ref], writes: Sequence[int], phase: Phase, plan: Plan, words: Words
) -> Iterator[PocketError]:
    counts = {"scratch": phase.scratch, "weight": plan.weights, "buffer": plan.buffers}
    for i, ref in enumerate(args):
        if len(ref) == 2:
            yield from index_problems(f"{at}.args[{i}]", ref[1], len(counts[ref[0]]))
        elif ref[0] not in words:
            yield damaged(f"{at}.args[{i}]", f"only dispatches of a gather have {ref[0]!r}")
    for i, write in enumerate(writes):
        yield from index_problems(f"{at}.writes[{i}]", write, len(args))
        if args[write][0] in NEVER_WRITTEN and not (args[write] == ("ticket",) and "rule" in words):
            yield damaged(f"{at}.writes[{i}]", f"a {args[write][0]} is never written")


def _host_problems(at: str, step: HostStep, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    """A built-in takes arguments of its kinds; none writes one or has parameters so far."""
    if step.op not in HOST_OPS:
        known = ", ".join(HOST_OPS)
        yield damaged(f"{at}.op", f"unknown built-in {step.op!r:.40}; known: {known}")
    kinds = HOST_OPS[step.op]
    if len(step.args) != len(kinds):
        yield damaged(f"{at}.args", f"{step.op} takes {len(kinds)}, there are {len(step.args)}")
    for i, (ref, kind) in enumerate(zip(step.args, kinds, strict=True)):
        if ref[0] != kind:
            yield damaged(f"{at}.args[{i}]", f"{step.op} takes a {kind}, this is {ref[0]!r}")
    yield from _argument_problems(at, step.args, step.writes, phase, plan, OUTSIDE)
    if step.writes:
        yield damaged(f"{at}.writes", f"{step.op} writes nothing")
    if step.params:
        yield damaged(f"{at}.params", f"{step.op} has no parameters")


def dispatch_problems(
    at: str, step: Dispatch, phase: Phase, plan: Plan, box: Box, words: Words = OUTSIDE
) -> Iterator[PocketError]:
    """Of a dispatch whose arguments may be `words`, and whose grids depend on the box's symbols."""
    yield from _argument_problems(at, step.args, step.writes, phase, plan, words)
    if not 0 <= (step.microseconds or 0) <= INT32_MAX:
        yield damaged(f"{at}.microseconds", f"{step.microseconds} is no time of a launch")
    if not step.variants:
        yield damaged(f"{at}.variants", "there is no way to run this dispatch")
    for i, variant in enumerate(step.variants):
        yield from _variant_problems(f"{at}.variants[{i}]", variant, plan, box)
        yield from image_problems(f"{at}.variants[{i}]", variant, step, phase, plan)


def _variant_problems(at: str, v: Variant, plan: Plan, box: Box) -> Iterator[PocketError]:
    yield from index_problems(f"{at}.program", v.program, len(plan.programs))
    if not 1 <= len(v.global_size) <= 3 or len(v.local_size) != len(v.global_size):
        yield damaged(at, f"grid of {len(v.global_size)} by {len(v.local_size)} dimensions")
    for i, (size, local) in enumerate(zip(v.global_size, v.local_size, strict=True)):
        yield from expr_problems(f"{at}.global[{i}]", size, box)
        if local <= 0:
            yield damaged(f"{at}.local[{i}]", f"{local} is not positive")
        if divisor(size, box) % local:
            because = f"{size} is no multiple of the local size {local} everywhere"
            yield damaged(f"{at}.global[{i}]", because)
        if maximum(size, box) > MOST_ITEMS:
            yield damaged(f"{at}.global[{i}]", f"{size} may be over {MOST_ITEMS} work-items")
    for name in v.requires:
        if name not in FEATURES:
            yield damaged(f"{at}.requires", f"unknown feature {name!r}")
    if not 0 <= (v.local_bytes or 0) <= INT32_MAX:
        yield damaged(f"{at}.local_bytes", f"{v.local_bytes} is no size of local memory")
    if v.cut is not None and not 0 <= v.cut < len(v.global_size):
        yield damaged(f"{at}.cut", f"there is no axis {v.cut}")
