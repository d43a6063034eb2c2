"""What tables of records cost: bytes on flash, of a read, and in memory at each point."""

from collections.abc import Iterator, Sequence
from typing import Any

from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE, SLOT_ALIGN, Gather, Plan, Point, Table
from toolkit.tables import rate

HEAD = 4  # ints of a ticket before its pairs, as in opencl_kernels/records/gathered.py
RINGS = 5  # tickets: four that the host fills in turn, one that the device does
SHARED = ("cpu",)  # classes whose kernels look at the host's pages: others get copies of these
PACKED_WASTE = PAGE - SLOT_ALIGN  # bytes that a read of one packed record has too many, on average


def table_figures(plan: Plan) -> dict[str, Any]:
    """Figures of tables and points, for `--json`; empty where a plan has no tables.

    padded_bytes, packed_bytes  of a record: what it takes on flash, and what reading it alone does,
                                if each begins a page or if they lie one after the other
    slot_bytes, pinned_bytes    of a point: memory of all slots, and of those that never change
    share                       of all records' bytes that the slots hold
    predicted_s                 of a token; None where that is not known
    """
    if not plan.tables:
        return {}
    whole = sum(table.count * table.bytes for table in plan.tables)
    points = []
    for point in plan.points:
        slots = slot_bytes(plan, point.slots)
        found = {"memory": point.memory, "flash": point.flash, "policy": point.policy}
        held = {"slot_bytes": slots, "pinned_bytes": slot_bytes(plan, point.pinned)}
        rates = {"share": slots / whole, "predicted_s": point.predicted_s or None}
        points.append({**found, **held, **rates})
    return {
        "flash_bytes": sum(table.count * table.stride for table in plan.tables),
        "tables": [_table(table) for table in plan.tables],
        "points": points,
    }


def slot_bytes(plan: Plan, slots: Sequence[int]) -> int:
    """Bytes of so many records of each table."""
    return sum(count * table.bytes for count, table in zip(slots, plan.tables, strict=True))


def at_once(plan: Plan, gather: Gather, cluster: int) -> int:
    """Records that the dispatches of a gather run over at once, at most."""
    return gather.tile or min(cluster, selected(plan, gather))


def launch_bytes(plan: Plan, gather: Gather, point: Point) -> int:
    """Bytes of the records of a launch, at most, where they have been read."""
    return at_once(plan, gather, point.cluster) * plan.tables[gather.table].bytes


def first_bytes(gather: Gather, table: Table) -> int:
    """Bytes of a record that its first parts take; 0 where it is read at once."""
    if gather.first is None:
        return 0
    return max(p.offset + p.bytes for p in table.parts if p.name in gather.first.parts)


def _glimpsed_bytes(plan: Plan, gather: Gather, point: Point) -> int:
    """What has been read first, until the rest comes."""
    pages = round_up(first_bytes(gather, plan.tables[gather.table]), PAGE)
    return at_once(plan, gather, point.cluster) * pages


def selected(plan: Plan, gather: Gather) -> int:
    """Records that a gather selects, at most: by ids no more than there are ids."""
    count = plan.tables[gather.table].count
    return min(gather.select.k, count) if gather.select.by == "ids" else count


def waits_for_nobody(plan: Plan, gather: Gather) -> bool:
    """Whether a device selects by itself where all of the table lies in memory.

    Either a dispatch chooses, or nothing is to be chosen.
    """
    return gather.choose is not None or gather.whole


def table_memory(plan: Plan, point: Point) -> dict[str, int]:
    """Bytes that tables take of memory at a point, by what they are for."""
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    launches = (launch_bytes(plan, gather, point) for gather in gathers)
    copies = 1 if plan.profile["class"] in SHARED else 2
    staging = copies * point.tiles * max(launches, default=0) + ahead_bytes(plan, point)
    staging += max((_glimpsed_bytes(plan, gather, point) for gather in gathers), default=0)
    return {
        "slots": slot_bytes(plan, point.slots),
        "staging": staging + point.threads * (point.max_read + PAGE),
        "tickets": copies * RINGS * 4 * (HEAD + 2 * most_records(plan)),
    }


def ahead_bytes(plan: Plan, point: Point) -> int:
    """Of records that are read before a gather asks for them: of two at once."""
    prefetches = [each for phase in plan.phases for each in phase.prefetches()]
    counts = zip(point.ahead, prefetches, strict=False)
    return 2 * max((n * plan.tables[each.table].bytes for n, each in counts), default=0)


def never_ahead(plan: Plan) -> set[int]:
    """Tables whose prefetches read nothing at any point."""
    prefetches = [each for phase in plan.phases for each in phase.prefetches()]
    pairs = [pair for p in plan.points for pair in zip(p.ahead, prefetches, strict=False)]
    return {each.table for each in prefetches} - {each.table for count, each in pairs if count}


def most_records(plan: Plan) -> int:
    """Of a launch, at most."""
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    return max((selected(plan, gather) for gather in gathers), default=0)


def table_lines(plan: Plan) -> Iterator[str]:
    """The same as text; tables of one shape on one line: every layer has the same."""
    known = table_figures(plan)
    if not known:
        return
    yield f"flash       {_bytes(known['flash_bytes'])}  {len(plan.tables)} tables"
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in known["tables"]:
        shape = tuple(value for key, value in row.items() if key != "name")
        groups.setdefault(shape, []).append(row)
    for rows in groups.values():
        yield from _shape_lines(rows)
    for row in known["points"]:
        share = f"{row['share']:.1%} of all records, {row['policy']}"
        share += "" if row["flash"] == 1 else f", flash at {row['flash']:g} of its speed"
        seconds = row["predicted_s"]
        predicted = f": predicted {rate(1 / seconds)} tokens/s" if seconds else ""
        at = f"{share}, at {row['memory']:,} bytes in all{predicted}"
        yield f"slots       {_bytes(row['slot_bytes'])}  {at}"


def _shape_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    first = rows[0]
    names = first["name"] + (f" … {rows[-1]['name']}" if len(rows) > 1 else "")
    of = f"{first['count']} {first['kind']} of {first['bytes']:,} bytes"
    apart = f"{of}, {first['stride']:,} apart  {names}"
    yield f"  {_bytes(first['flash_bytes'] * len(rows))}  {len(rows)} x {apart}"
    sums = f"{first['padded_bytes']:,} in whole pages, {first['packed_bytes']:,} packed"
    yield f"            a record, stored and read alone: {sums}"


def _table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "kind": table.kind,
        "count": table.count,
        "bytes": table.bytes,
        "stride": table.stride,
        "flash_bytes": table.count * table.stride,
        "padded_bytes": 2 * round_up(table.bytes, PAGE),
        "packed_bytes": 2 * table.bytes + PACKED_WASTE,
    }


def _bytes(count: int) -> str:
    return f"{count:>15,} bytes"
