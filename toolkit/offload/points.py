"""The point that a run keeps to: one of the plan's, or between them as memory has room.

The runner has the same in android_runner/offload/points.cpp.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from toolkit.errors import PocketError
from toolkit.offload.flash_model import flash
from toolkit.offload.policies import window_for
from toolkit.offload.prediction.demand import PINNED
from toolkit.plan import figures
from toolkit.plan.amount import bytes_of
from toolkit.plan.schema import Gather, Plan, Point
from toolkit.plan.table_figures import slot_bytes
from toolkit.tables import size

AUTO = "auto"
MOST_USED = 64  # points that are told of: a budget may change without end


def memory_of(plan: Plan, memory: int | str | None) -> int | None:
    """What a run may take, in bytes: a share is of what the plan takes with all records in memory.

    Raises PocketError where the plan does not run in so little, or has no tables.
    """
    if memory is None:
        return None
    if not plan.tables:
        raise no_tables("--memory")
    found = bytes_of(str(memory), whole_bytes(plan))
    choose_point(plan, found)
    return found


def whole_bytes(plan: Plan) -> int:
    """What a plan takes with all records in memory."""
    all_records = slot_bytes(plan, [table.count for table in plan.tables])
    return _resident(plan, plan.points[-1]) + all_records


def budget_of(plan: Plan, memory: int | str | None) -> int | str | None:
    """The same, or AUTO as it is: what the system has to give."""
    if memory == AUTO and plan.tables:
        return AUTO
    return memory_of(plan, memory)


def budget_from(nbytes: int) -> int:
    """What a run may take of so many bytes that a system has to give: nine of ten."""
    return nbytes // 10 * 9


def flash_of(plan: Plan, name: str | None) -> str | None:
    """The profile that reads imitate, if there is one of this name, and something to read."""
    if name is None:
        return None
    if not plan.tables:
        raise no_tables("--flash")
    return flash(name).name


def overlap_of(plan: Plan, word: str | None) -> str | None:
    """What launches are to wait for, if it is said, and there is something to read."""
    if word is not None and not plan.tables:
        raise no_tables("--overlap")
    return word


def engine_of(plan: Plan, word: str | None) -> str | None:
    """What is to compute records, if it is said, and there are any."""
    if word is not None and not plan.tables:
        raise no_tables("--engine")
    return word


def no_tables(option: str) -> PocketError:
    """Of an option that is about weights in flash, where a plan has none."""
    because = "the plan has no weights in flash: all of it lies in memory"
    return PocketError(f"{option} has no effect here", because, "compile the model with --memory")


def choose_point(plan: Plan, memory: int | None = None, flash: float = 1.0) -> Point:
    """Of the plan's points the last; or with `memory` bytes the one that takes most of those that
    fit, its slots grown towards the next one's, or all records, as far as there is room.

    `flash`: how fast it is against the profile's; the points are those of the nearest such speed.
    Below the first point its slots shrink, each table's by the same share. Raises PocketError where
    there is room for less than none.
    """
    points = _points_for(plan, flash)
    if memory is None:
        return points[-1]
    fitting = sum(point.memory <= memory for point in points)
    if not fitting:
        return _shrunk(plan, points[0], memory)
    base = points[fitting - 1]
    counts = [table.count for table in plan.tables]
    goal = points[fitting].slots if fitting < len(points) else counts
    return _resized(plan, base, _grown(plan, base.slots, goal, memory - base.memory))


def _grown(plan: Plan, slots: Sequence[int], goal: Sequence[int], room: int) -> list[int]:
    """As many more as there is room for; rows come last: a token needs one of each table."""
    rows, grown = by_ids(plan), list(slots)
    for last in (False, True):
        missing = [
            max(0, more - own) if (i in rows) == last else 0
            for i, (more, own) in enumerate(zip(goal, slots, strict=True))
        ]
        whole = slot_bytes(plan, missing)
        share = min(1.0, room / whole) if whole else 0.0
        more = [int(each * share) for each in missing]
        grown = [own + each for own, each in zip(grown, more, strict=True)]
        room -= slot_bytes(plan, more)
    return grown


def by_ids(plan: Plan) -> set[int]:
    """Tables of which a text's ids choose records: rows of embeddings."""
    return {gather.table for gather, kind in _by_ids(plan) if kind == "buffer"}


def by_routers(plan: Plan) -> dict[int, int]:
    """Tables of which computed ids choose records, experts: how many a token takes."""
    found: dict[int, int] = {}
    for gather, kind in _by_ids(plan):
        if kind == "scratch":
            table, k = gather.table, gather.select.k
            found[table] = min(k, plan.tables[table].count, found.get(table, k))
    return found


def _by_ids(plan: Plan) -> Iterator[tuple[Gather, str]]:
    """Gathers by ids, and the kind of memory that these are in."""
    for gather in (gather for phase in plan.phases for gather in phase.gathers()):
        if gather.select.by == "ids" and gather.select.source is not None:
            yield gather, gather.select.source[0]


def under_policy(
    plan: Plan, point: Point, policy: str, often: Sequence[NDArray[Any]] = ()
) -> Point:
    """The point with another policy: as many slots, and what is pinned as the policy has it; all,
    where there is room for all.

    often  of each table the frequencies of its records, descending; none: they are not known
    """
    if policy == point.policy:
        return point
    chosen = _chosen(plan)
    pinned = list(point.slots)
    for i in chosen if policy != "static" else ():
        most = int((often[i] > PINNED).sum()) if often else 0
        most = most if point.slots[i] < plan.tables[i].count else point.slots[i]
        pinned[i] = min(point.slots[i], most)
    window = point.window
    if policy == "window" and often:
        sizes = zip(often, point.slots, pinned, strict=True)
        window = tuple(window_for(*each) for each in sizes)
    return replace(
        point,
        policy=policy,
        pinned=tuple(pinned),
        dense=tuple(map(min, point.dense, pinned)),
        window=window,
    )


def _chosen(plan: Plan) -> set[int]:
    """Tables of which at some gather only some records are read."""
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    return {gather.table for gather in gathers if gather.select.by != "all"}


def _points_for(plan: Plan, flash: float) -> list[Point]:
    """Of the speed that is nearest by its ratio; of two as near the greater."""

    def rank(speed: float) -> tuple[float, float]:
        return max(speed / flash, flash / speed), -speed

    nearest = min((point.flash for point in plan.points), key=rank)
    return [point for point in plan.points if point.flash == nearest]


def least_memory(plan: Plan) -> int:
    """The least that it runs in."""
    return _resident(plan, plan.points[0])


def speeds_of(plan: Plan) -> list[float]:
    """Speeds of flash that there are points for."""
    return sorted({point.flash for point in plan.points})


class Usage:
    """Which points a run has used, and for how many tokens: the last MOST_USED of them."""

    def __init__(self) -> None:
        self._tokens: Counter[tuple[int, float, str]] = Counter()

    def note(self, point: Point, tokens: int) -> None:
        """So many more at this one."""
        key = point.memory, point.flash, point.policy
        if key not in self._tokens and len(self._tokens) == MOST_USED:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[key] += tokens

    def list(self) -> list[dict[str, Any]]:
        """In the order of their first use."""
        keys = ("memory", "flash", "policy", "tokens")
        return [dict(zip(keys, (*k, n), strict=True)) for k, n in self._tokens.items()]


def _resident(plan: Plan, point: Point) -> int:
    """Bytes besides its slots."""
    return point.memory - slot_bytes(plan, point.slots)


def _shrunk(plan: Plan, point: Point, memory: int) -> Point:
    held, rest = slot_bytes(plan, point.slots), memory - _resident(plan, point)
    if rest < 0:
        raise _too_little(plan, memory)
    return _resized(plan, point, [int(count * (rest / held)) for count in point.slots])


def _resized(plan: Plan, base: Point, slots: Sequence[int]) -> Point:
    """With other slots, if they are.

    Pinned stay those of a table that is always read whole, of policy static, and of others as many
    as there were; and all, where there is room for all.
    """
    if tuple(slots) == base.slots:
        return base
    chosen = _chosen(plan) if base.policy != "static" else set()
    some = {i for i in chosen if slots[i] < plan.tables[i].count}
    pinned = [min(base.pinned[i], n) if i in some else n for i, n in enumerate(slots)]
    return replace(
        base,
        memory=_resident(plan, base) + slot_bytes(plan, slots),
        slots=tuple(slots),
        pinned=tuple(pinned),
        dense=tuple(map(min, base.dense, pinned)),
    )


def _too_little(plan: Plan, memory: int) -> PocketError:
    least = _resident(plan, plan.points[0])
    parts = figures.resident(plan)
    rest = {"reads": least - sum(parts.values())}
    named = ", ".join(f"{name} {size(n)}" for name, n in (parts | rest).items() if n > 0)
    return PocketError(
        f"the plan does not run in {memory} bytes",
        f"it takes {least} with no record of its tables in memory: {named}",
        f"--memory {least}, or compile it with less memory, or a smaller --max-context",
    )
