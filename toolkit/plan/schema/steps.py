"""The steps of a phase: launches, built-ins, waits, and what is gathered from a table."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

from toolkit.plan.schema.programs import Variant

HOST_OPS: dict[str, tuple[str, ...]] = {"fetch": ("buffer",)}  # built-in -> kinds of its arguments
SELECTORS = ("all", "above", "top", "nonzero", "ids")
DENSE = ("above", "nonzero")  # those by which a record more than is selected changes no other one

# ("symbols",) or (kind, index): ("scratch", 3), ("weight", 12), ("buffer", 0); of a dispatch inside
# of a gather also ("ticket",): which records, in which slots, and ("slots",): the memory of these;
# of the one that fills a ticket ("rule",): i32 of how many records the table has, the threshold's
# bits, and how many were chosen so far
Ref: TypeAlias = tuple[str] | tuple[str, int]


@dataclass(frozen=True)
class Dispatch:
    """A kernel launch; variants stand in order of preference and share arguments and storage.

    microseconds  that it takes on the plan's device where every symbol is at its bound, predicted:
                  by it executors bound what they give a device at once
    """

    kind: ClassVar[str] = "dispatch"
    queue: int
    name: str
    args: tuple[Ref, ...]
    writes: tuple[int, ...]  # indices into args
    variants: tuple[Variant, ...]
    microseconds: int | None = None


@dataclass(frozen=True)
class HostStep:
    """A named built-in of the executor, among HOST_OPS.

    fetch  hands a buffer to whoever runs the phase: it is what the phase gives
    """

    kind: ClassVar[str] = "host"
    op: str
    args: tuple[Ref, ...]
    writes: tuple[int, ...] = ()  # indices into args
    params: Mapping[str, Any] = field(default_factory=dict)  # numbers and words; no op has any yet
    queue: int = 0


@dataclass(frozen=True)
class WaitStep:
    """Wait until everything in the queue has finished."""

    kind: ClassVar[str] = "wait"
    queue: int = 0


@dataclass(frozen=True)
class Select:
    """Which records of a table a token needs, by numbers that the phase has computed.

    all      each of them
    above    those whose number, or its magnitude, is above the threshold
    top      the k of greatest magnitude; that of a record which isn't pinned counts times `gamma`
    nonzero  those whose number isn't zero
    ids      those whose indices are there, k at most

    source  scratch of one number for each index of the table: f32; of `ids` scratch or a buffer of
            at most k: i32, all of which count, as often as they come
    """

    by: str
    source: Ref | None = field(default=None, metadata={"key": "from", "unless_empty": True})
    threshold: float = field(default=0.0, metadata={"unless_empty": True})
    magnitude: bool = field(default=False, metadata={"unless_empty": True})
    k: int = field(default=0, metadata={"unless_empty": True})
    gamma: float = 1.0


@dataclass(frozen=True)
class First:
    """What a gather reads and computes of a record before it reads the rest: PowerInfer-2's gates.

    parts       of the record, the first ones: they end in an earlier page than it does
    dispatches  over missing records, of which these parts alone are there
    select      by what those write: of a record that it doesn't choose, nothing more is read, and
                nothing is computed
    """

    parts: tuple[str, ...]
    dispatches: tuple[Dispatch, ...]
    select: Select


@dataclass(frozen=True)
class Unit:
    """What a gather's one dispatch computes, for whoever computes it in its place:

        part[g, m] += act(gate . x[m] + gate_bias[i]) * up_act(up . x[m] + up_bias[i]) * down

    over records of index i; the last two parts are up and down. Without a gate it is up_act(…) *
    down.

    gate         none; part: the first one of the record; given: numbers[m, i] of its own
    act, up_act  see toolkit/plan/schema/activation.py
    x, part …    indices into the dispatch's args: f32 or f16; `part` and the biases f32
    """

    gate: str
    act: str
    up_act: str
    x: int
    part: int
    given: int | None = field(default=None, metadata={"unless_empty": True})
    gate_bias: int | None = field(default=None, metadata={"unless_empty": True})
    up_bias: int | None = field(default=None, metadata={"unless_empty": True})


@dataclass(frozen=True)
class Gather:
    """Select records of a table, make them resident, and run dispatches over them.

    parts   of the records that are read: all of them, as executors keep whole records
    tile    how many records the dispatches run over at a time; 0: as many as the point says
    choose  another way to select, where all records lie in memory, each in the slot of its number:
            the device fills the ticket, and nobody waits for the host
    whole   where that takes no choice (all records of a table that has no order, or one id): the
            kernels know tickets of whole tables, which have no pairs, so nobody waits either
    first   missing records are read in two phases
    unit    what the dispatch computes, where others than a device can
    """

    kind: ClassVar[str] = "gather"
    queue: int
    name: str
    table: int
    parts: tuple[str, ...]
    select: Select
    dispatches: tuple[Dispatch, ...]
    tile: int = field(default=0, metadata={"unless_empty": True})
    choose: Dispatch | None = field(default=None, metadata={"unless_empty": True})
    whole: bool = field(default=False, metadata={"unless_empty": True})
    first: First | None = field(default=None, metadata={"unless_empty": True})
    unit: Unit | None = field(default=None, metadata={"unless_empty": True})

    def inside(self) -> tuple[Dispatch, ...]:
        """What runs over records: of whole ones, then of first parts."""
        return (*self.dispatches, *(() if self.first is None else self.first.dispatches))


@dataclass(frozen=True)
class Prefetch:
    """Begin to read records that the second gather behind it may need, and isn't certain to.

    Its reads come behind those of the gather right behind it, and nothing waits for them but the
    gather that needs one. So no answer depends on it, and what computes its numbers is left out
    where a point reads nothing ahead of its table.

    select  `above` of numbers that are known early. The threshold is the one of the gather that it
            reads for; of those above it and not in memory the greatest, as many as a point says
    """

    kind: ClassVar[str] = "prefetch"
    queue: int
    name: str
    table: int
    select: Select
    dispatches: tuple[Dispatch, ...]


Step: TypeAlias = Dispatch | HostStep | WaitStep | Gather | Prefetch
STEPS: dict[str, type[Step]] = {s.kind: s for s in (Dispatch, HostStep, WaitStep, Gather, Prefetch)}


def dispatches_of(step: Step) -> tuple[Dispatch, ...]:
    """The kernels that a step launches: itself, or those inside of it, in their order."""
    if isinstance(step, Gather):
        return (*(() if step.choose is None else (step.choose,)), *step.inside())
    if isinstance(step, Prefetch):
        return step.dispatches
    return (step,) if isinstance(step, Dispatch) else ()


def with_dispatches(step: Step, changed: Callable[[Dispatch], Dispatch]) -> Step:
    """The step with each kernel that it launches changed."""
    if isinstance(step, Gather):
        choose, first = None if step.choose is None else changed(step.choose), step.first
        if first is not None:
            first = replace(first, dispatches=tuple(map(changed, first.dispatches)))
        own = tuple(map(changed, step.dispatches))
        return replace(step, choose=choose, dispatches=own, first=first)
    if isinstance(step, Prefetch):
        return replace(step, dispatches=tuple(map(changed, step.dispatches)))
    return changed(step) if isinstance(step, Dispatch) else step


def refs_of(step: Step) -> Iterator[Ref]:
    """What a step touches."""
    if isinstance(step, Dispatch | HostStep):
        yield from step.args
    if isinstance(step, Gather | Prefetch):
        rules = [step.select]
        if isinstance(step, Gather) and step.first is not None:
            rules.append(step.first.select)
        yield from (rule.source for rule in rules if rule.source is not None)
        for dispatch in dispatches_of(step):
            yield from dispatch.args
