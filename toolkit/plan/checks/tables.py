"""What tables must be, whose records lie in files that no weight lies in, and points to run at."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from toolkit.errors import PocketError
from toolkit.plan.arena import round_up
from toolkit.plan.checks.gathers import COUNTED, gathers_problems
from toolkit.plan.checks.values import MOST_BYTES, duplicate_problems, index_problems
from toolkit.plan.reader import damaged
from toolkit.plan.schema import (
    DENSE,
    ENGINES,
    LEAST_TILES,
    MOST_TILES,
    MOST_WINDOW,
    PAGE,
    POLICIES,
    SLOT_ALIGN,
    Gather,
    Part,
    Plan,
    PlannedFlash,
    Point,
    Table,
)

ABREAST, PART_ALIGN = 8, 16  # opencl_kernels/records/record.py
# Of a number, and what parts end at; arrays of whole matrices have words of codes, and bytes.
PLAIN_BYTES = {
    "f16": (2, PART_ALIGN),
    "f32": (4, 32),
    "u32": (4, PART_ALIGN),
    "u8": (1, PART_ALIGN),
}
GROUPS = (16, 32, 64, 128, 256)
MOST_RECORDS, MOST_NUMBERS = 2**24, 2**28
MOST_TABLES, MOST_POINTS, MOST_THREADS = 4096, 64, 64
MOST_READ = 2**28
MOST_AT_ONCE = 2**28  # bytes that threads read together


def tables_problems(plan: Plan) -> Iterator[PocketError]:
    """Of tables, points and gathers of a plan that is sound otherwise."""
    if len(plan.tables) > MOST_TABLES or len(plan.points) > MOST_POINTS:
        yield damaged("tables", "there are too many of them, or of points")
    yield from duplicate_problems("tables", [table.name for table in plan.tables])
    for i, table in enumerate(plan.tables):
        yield from _table_problems(f"tables[{i}]", table, plan)
    for i, phase in enumerate(plan.phases):
        yield from gathers_problems(f"phases[{i}]", phase, plan)
    if bool(plan.tables) != bool(plan.points):
        yield damaged("points", "tables and points go together")
    if plan.flash is not None:
        yield from _flash_problems(plan.flash)
    for i, point in enumerate(plan.points):
        yield from _point_problems(f"points[{i}]", point, plan)
    for i, (low, high) in enumerate(pairwise(plan.points)):
        if (low.memory, low.flash) >= (high.memory, high.flash):
            yield damaged(f"points[{i + 1}]", "it does not take more memory than the one before")


def _flash_problems(flash: PlannedFlash) -> Iterator[PocketError]:
    for key, rates in (("random", flash.random), ("sequential", flash.sequential)):
        for i, (nbytes, rate) in enumerate(rates):
            least = rates[i - 1][0] if i else 0
            if not least < nbytes <= MOST_READ or rate <= 0:
                yield damaged(f"flash.{key}[{i}]", "no rate, or of a smaller read than before")
    tables = bool(flash.random and flash.sequential)
    numbers = (flash.alpha_s, flash.bytes_per_s, flash.latency_s)
    if min(numbers) < 0 or tables == (flash.bytes_per_s > 0):
        yield damaged("flash", "no time of a read")


def _table_problems(at: str, table: Table, plan: Plan) -> Iterator[PocketError]:
    yield from index_problems(f"{at}.file", table.file, len(plan.files))
    file = plan.files[table.file]
    if not file.path.endswith(".bin") or any(w.file == table.file for w in plan.weights):
        yield damaged(f"{at}.file", f"{file.path} is no file of tables")
    for key, value, most in (("count", table.count, MOST_RECORDS), ("bytes", table.bytes, 2**31)):
        if not 1 <= value <= most:
            yield damaged(f"{at}.{key}", f"{value} is not from 1 to {most}")
    if table.bytes % SLOT_ALIGN or not table.bytes <= table.stride <= 2**31:
        yield damaged(f"{at}.stride", f"{table.bytes} bytes do not lie {table.stride} apart")
    if table.stride % SLOT_ALIGN:
        yield damaged(f"{at}.stride", f"{table.stride} is no multiple of {SLOT_ALIGN}")
    if table.offset % PAGE or not 0 <= table.offset <= MOST_BYTES:
        yield damaged(f"{at}.offset", f"{table.offset} is no multiple of {PAGE}")
    if (end := table.offset + table.count * table.stride) > file.bytes:
        yield damaged(at, f"it ends at {end}, after the end of {file.path}")
    yield from _parts_problems(f"{at}.parts", table)
    for key, index, dtype in (
        ("order", table.order, "i32"),
        ("importance", table.importance, "f32"),
    ):
        if index is not None:
            yield from _list_problems(f"{at}.{key}", index, dtype, table, plan)


def _list_problems(
    at: str, index: int, dtype: str, table: Table, plan: Plan
) -> Iterator[PocketError]:
    """Of a weight that has a number for each record."""
    yield from index_problems(at, index, len(plan.weights))
    weight = plan.weights[index]
    if (weight.dtype, weight.shape) != (dtype, (table.count,)):
        yield damaged(at, f"{weight.name} is {weight.dtype} {list(weight.shape)}")


def _parts_problems(at: str, table: Table) -> Iterator[PocketError]:
    if not table.parts:
        yield damaged(at, "records have no part")
    yield from duplicate_problems(at, [part.name for part in table.parts])
    end = 0
    for i, part in enumerate(table.parts):
        if not 1 <= part.length <= MOST_NUMBERS or part.bytes != part_bytes(part):
            because = f"{part.bytes} bytes are not those of {part.length} numbers of {part.dtype}"
            yield damaged(f"{at}[{i}]", because)
        if part.offset < end or part.offset % PART_ALIGN:
            yield damaged(f"{at}[{i}].offset", f"{part.offset} is inside of the part before")
        end = part.offset + part.bytes
    if end > table.bytes:
        yield damaged(at, f"they end at {end}, after the end of a record")


def part_bytes(part: Part) -> int | None:
    """Bytes of a part by its numbers; None where there are no such records."""
    if part.dtype in PLAIN_BYTES and not part.group and not part.zero:
        nbytes, align = PLAIN_BYTES[part.dtype]
        return round_up(nbytes * part.length, align)
    if part.dtype not in ("e0m4", "q8") or part.group not in GROUPS:
        return None
    if part.dtype == "q8":
        groups = round_up(part.length, part.group) // part.group
        return round_up(groups * (part.group + 4 + 4 * part.zero), PART_ALIGN)
    groups = round_up(part.length, ABREAST * part.group) // part.group
    return round_up(groups * (part.group // 2 + 2 + part.zero), PART_ALIGN)


def _point_problems(at: str, point: Point, plan: Plan) -> Iterator[PocketError]:
    for key in ("slots", "pinned", "dense"):
        if len(getattr(point, key)) != len(plan.tables):
            yield damaged(f"{at}.{key}", f"there are {len(plan.tables)} tables")
    for i, table in enumerate(plan.tables):
        found = point.pinned[i], point.slots[i]
        if not 0 <= found[0] <= found[1] <= table.count:
            because = f"of {table.count} records {found} are pinned and kept"
            yield damaged(f"{at}.slots[{i}]", because)
        if not 0 <= point.dense[i] <= point.pinned[i]:
            because = f"{point.dense[i]} of {point.pinned[i]} pinned records are always computed"
            yield damaged(f"{at}.dense[{i}]", because)
    yield from _dense_problems(f"{at}.dense", point, plan)
    if not 0 <= point.memory <= MOST_BYTES:
        yield damaged(f"{at}.memory", f"{point.memory} is no size in bytes")
    if point.engine and point.engine not in ENGINES:
        yield damaged(f"{at}.engine", f"unknown engine {point.engine!r:.40}")
    if point.policy not in POLICIES:
        yield damaged(f"{at}.policy", f"unknown policy {point.policy!r:.40}")
    if not 0 < point.flash <= 1 or point.predicted_s < 0:
        yield damaged(at, f"flash at {point.flash}, a token in {point.predicted_s} s")
    if point.window and len(point.window) != len(plan.tables):
        yield damaged(f"{at}.window", f"there are {len(plan.tables)} tables")
    for i, steps in enumerate(point.window):
        if not 1 <= steps <= MOST_WINDOW:
            yield damaged(f"{at}.window[{i}]", f"{steps} is not from 1 to {MOST_WINDOW}")
    prefetches = [each for phase in plan.phases for each in phase.prefetches()]
    if point.ahead and len(point.ahead) != len(prefetches):
        yield damaged(f"{at}.ahead", f"there are {len(prefetches)} prefetches")
    for i, (count, each) in enumerate(zip(point.ahead, prefetches, strict=False)):
        if not 0 <= count <= plan.tables[each.table].count:
            yield damaged(f"{at}.ahead[{i}]", f"{count} is no number of its records")
    yield from _read_problems(at, point, plan.tables)
    yield from _selected_problems(f"{at}.select", point, plan)


def _dense_problems(at: str, point: Point, plan: Plan) -> Iterator[PocketError]:
    """A record more than is selected must change no answer but by itself."""
    for gather in (each for phase in plan.phases for each in phase.gathers()):
        if point.dense[gather.table] and gather.select.by not in ("all", *DENSE):
            because = f"{gather.name} selects by {gather.select.by}, and by nothing else"
            yield damaged(f"{at}[{gather.table}]", because)


def _read_problems(at: str, point: Point, tables: Sequence[Table]) -> Iterator[PocketError]:
    """A read takes at least one record, wherever in its first page this begins."""
    least = max((round_up(table.bytes, PAGE) + PAGE for table in tables), default=PAGE)
    for key, low in (("gap", 0), ("max_read", least)):
        value = getattr(point, key)
        if value % PAGE or not low <= value <= max(low, MOST_READ):
            yield damaged(f"{at}.{key}", f"{value} is no multiple of {PAGE} from {low} on")
    if not 1 <= point.threads <= MOST_THREADS:
        yield damaged(f"{at}.threads", f"{point.threads} is not from 1 to {MOST_THREADS}")
    if point.threads > 1 and point.threads * point.max_read > MOST_AT_ONCE:
        yield damaged(f"{at}.threads", f"together they would read more than {MOST_AT_ONCE} bytes")
    if not 1 <= point.cluster <= MOST_RECORDS:
        yield damaged(f"{at}.cluster", f"{point.cluster} is no number of records")
    if not LEAST_TILES <= point.tiles <= MOST_TILES:
        yield damaged(f"{at}.tiles", f"{point.tiles} is not from {LEAST_TILES} to {MOST_TILES}")


def _selected_problems(at: str, point: Point, plan: Plan) -> Iterator[PocketError]:
    """A threshold for each gather, or how many it selects."""
    gathers: list[Gather] = [g for phase in plan.phases for g in phase.gathers()]
    if len(point.select) != len(gathers):
        yield damaged(at, f"there are {len(gathers)} gathers")
    for i, (value, gather) in enumerate(zip(point.select, gathers, strict=True)):
        ids = gather.select.by == "ids"  # all for which there are places
        count = gather.select.k if ids else plan.tables[gather.table].count
        least = count if ids else 1
        whole = value == math.floor(value) and least <= value <= count
        if gather.select.by in COUNTED and not whole:
            yield damaged(f"{at}[{i}]", f"{value} is no number of its {count} records")
