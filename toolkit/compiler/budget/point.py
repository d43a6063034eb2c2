"""The point of a plan with tables: how much of each lies in memory, and how reads are made."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from toolkit.compiler.budget.needs import needs, spelled
from toolkit.compiler.weights.rows import KIND as ROW
from toolkit.errors import PocketError
from toolkit.offload.flash_model import flash
from toolkit.offload.planner import Way
from toolkit.offload.points import by_ids, by_routers
from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE, Gather, Plan, Point
from toolkit.plan.table_figures import at_once as at_once_of
from toolkit.plan.table_figures import slot_bytes, table_memory
from toolkit.tables import size

GAP = flash("ufs40").gap  # what lies between two reads is rather read as well
MAX_READ = 512 * 1024  # bytes; above, its rate hardly grows
THREADS = 1  # it has one queue of commands
ROWS = 512  # of an embedding that are kept rather than neurons: words that come again soon;
FEW_ROWS = 8  # in at most one part of so many of the room
CLUSTER = 64  # records that are computed together: a launch costs as much as reading a few
COLUMNS = 256  # of those of which a token needs so many that most of a table is read
AHEAD = 48  # records that are read of a network before it asks, at most
CLUSTERS, THREADS_TRIED = (32, 64, 128, 256), (1, 2, 4)  # of which a planner chooses


def with_point(plan: Plan, cluster: int = 0, threads: int = THREADS) -> Plan:
    """The plan with a point that keeps no record in memory; `cluster` 0: as is usual."""
    least = round_up(max(table.bytes for table in plan.tables), PAGE) + PAGE
    none = (0,) * len(plan.tables)
    gathers = [g for phase in plan.phases for g in phase.gathers()]
    by_magnitude = any(gather.select.by == "top" for gather in gathers)
    cluster = cluster or (COLUMNS if by_magnitude else CLUSTER)
    at_once = max(at_once_of(plan, g, cluster) * plan.tables[g.table].stride for g in gathers)
    point = Point(
        memory=0,
        slots=none,
        pinned=none,
        dense=none,
        policy=_policy(gathers),
        select=tuple(map(_number, gathers)),
        gap=GAP,
        max_read=max(least, min(MAX_READ, round_up(at_once, PAGE))),
        threads=threads,
        cluster=cluster,
        ahead=tuple(
            min(AHEAD, plan.tables[each.table].count)
            for phase in plan.phases
            for each in phase.prefetches()
        ),
    )
    return replace(plan, points=(point,))


def ways_of(plan: Plan, gap: int) -> list[Way]:
    """How reads of a plan may be made, and what that takes: among these a planner chooses."""
    found = []
    for cluster, threads in product(CLUSTERS, THREADS_TRIED):
        (made,) = with_point(plan, cluster, threads).points
        point = replace(made, gap=gap)
        found.append(Way(point, reading_bytes(plan, point)))
    return found


def reading_bytes(plan: Plan, point: Point) -> int:
    """What reads take of memory beside slots."""
    return sum(n for name, n in table_memory(plan, point).items() if name != "slots")


def within(plan: Plan, weights: int, head: int, budget: int, whole: int, share: float = 0) -> Plan:
    """The plan with as many slots as the budget has room for, the same share of each network.

    Of rows that ids choose, a token needs one: a few are kept, more where all else is in memory. A
    table of which all records are always needed keeps its first ones; others keep those that were
    needed most often. Raises where not even the rest fits.

    whole  what all takes in memory
    share  the budget's of `whole`, where it was given so: it shrinks with the context
    """
    plan = with_point(plan)
    parts = needs(plan, weights, head)
    rest = budget - sum(parts.values())
    if rest < 0:
        raise _too_small(budget, parts, plan, whole, share)
    slots = shared(plan, rest)
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    chosen = {g.table for g in gathers if _chooses(g) and _policy(gathers) != "static"}
    pinned = tuple(0 if i in chosen else count for i, count in enumerate(slots))
    memory = sum(parts.values()) + slot_bytes(plan, slots)
    return replace(
        plan, points=(replace(plan.points[0], memory=memory, slots=slots, pinned=pinned),)
    )


def shared(plan: Plan, room: int) -> tuple[int, ...]:
    """Slots of each table in so many bytes: of a few rows, of networks, of the other rows."""
    rows = {i: plan.tables[i].count for i in sorted(by_ids(plan))}
    few = {i: min(ROWS, count) for i, count in rows.items()}
    networks = {i: t.count for i, t in enumerate(plan.tables) if i not in rows}
    slots = [0] * len(plan.tables)
    for wanted, part in ((few, FEW_ROWS if networks else 1), (networks, 1), (rows, 1)):
        rest = room // part - slot_bytes(plan, slots)
        nbytes = sum(plan.tables[i].bytes * (count - slots[i]) for i, count in wanted.items())
        for i, count in wanted.items():
            missing = count - slots[i]
            slots[i] += min(missing, missing * rest // nbytes) if nbytes else 0
        if wanted is networks:
            slots = _with_whole(plan, slots, room)
    return tuple(slots)


def _with_whole(plan: Plan, slots: list[int], room: int) -> list[int]:
    """And one more expert of each table, as far as there is room: what a share leaves over."""
    found = slots.copy()
    for i in sorted(by_routers(plan)):
        fits = slot_bytes(plan, found) + plan.tables[i].bytes <= room
        found[i] += fits and found[i] < plan.tables[i].count
    return found


def _number(gather: Gather) -> float:
    """What a point says of a gather."""
    select = gather.select
    return float(select.k) if select.by in ("ids", "top") else select.threshold


def _policy(gathers: Sequence[Gather]) -> str:
    """Where all is needed, or it is chosen by what lies in memory, that is always the same."""
    aware = any(gather.select.gamma < 1 for gather in gathers)
    return "lfu" if any(map(_chooses, gathers)) and not aware else "static"


def _chooses(gather: Gather) -> bool:
    return gather.select.by != "all"


def _too_small(
    budget: int, parts: dict[str, int], plan: Plan, whole: int, share: float
) -> PocketError:
    needed = sum(parts.values())
    least = min(needed, whole)  # of small models, tiles and tickets take more than what they save
    hint = f"--memory {_rounded_up(least)}"
    if context := _shorter(plan, parts, (needed - budget) / (1 - share)):
        hint += f", or --max-context {context}"
    if parts["scratch"] + parts["inputs and outputs"] > needed / 2:
        hint += f", or --prefill-chunk below {plan.model['prefill_chunk']}"
    return PocketError(
        f"{size(budget)} is less than this model needs with its {_in_flash(plan)} in flash",
        spelled(parts),
        hint,
    )


def _in_flash(plan: Plan) -> str:
    """What the tables are of."""
    kinds = {table.kind for table in plan.tables}
    named = ("FFNs",) * bool(kinds - {ROW}) + ("embedding",) * (ROW in kinds)
    return " and ".join(named)


def _shorter(plan: Plan, parts: dict[str, int], missing: float) -> int:
    """A context at which the rest fits, for states that grow with it; 0: none."""
    context, states = int(plan.model["max_context"]), parts["keys and values"]
    if missing >= states:
        return 0
    return int(context * (states - missing) / states) // 64 * 64


def _rounded_up(count: int) -> str:
    """Bytes as one types them, in three digits, never fewer."""
    for unit, scale in (("G", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= scale:
            step = scale // 100 if count < 10 * scale else scale // 10
            hundredths = -(-count // step) * step * 100 // scale
            return f"{hundredths / 100:g}{unit}"
    return str(count)
