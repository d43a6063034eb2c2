"""What the tests of a plan's kernels must be: dispatches at symbols that a text has, in memory."""

from collections.abc import Iterator

from toolkit.errors import PocketError
from toolkit.plan.checks.tested import Tested, inside_problems, tested_of
from toolkit.plan.checks.values import index_problems
from toolkit.plan.reader import damaged
from toolkit.plan.schema import (
    DTYPE_BYTES,
    Dispatch,
    Expected,
    Fill,
    Gather,
    KernelTest,
    Phase,
    Plan,
    dispatches_of,
)

MOST = 2**24  # elements, and values that are made up
MOST_TOLD = 4096  # elements that are told one by one
SUMS = 8
MOST_FOLLOWED = 8  # tests, each of which follows the one before
PART_FILLS = 3  # of a record's part: codes, scales, zero points


def tests_problems(plan: Plan) -> Iterator[PocketError]:
    """Of the tests of a plan that is sound otherwise."""
    steps = (step for phase in plan.phases for step in phase.steps)
    if len(plan.tests) > sum(max(1, len(dispatches_of(step))) for step in steps):
        yield damaged("tests", "there are more than steps")  # a dispatch has one at most
    for number, test in enumerate(plan.tests):
        yield from _test_problems(number, test, plan)


def _test_problems(number: int, test: KernelTest, plan: Plan) -> Iterator[PocketError]:
    at = f"tests[{number}]"
    yield from index_problems(f"{at}.phase", test.phase, len(plan.phases))
    phase = plan.phases[test.phase]
    yield from index_problems(f"{at}.step", test.step, len(phase.steps))
    whole = phase.steps[test.step]
    table = plan.tables[whole.table] if isinstance(whole, Gather) else None
    if isinstance(whole, Gather) and test.inside is not None:
        yield from inside_problems(f"{at}.inside", test.inside, whole, plan)
    if not isinstance(whole, Dispatch | Gather) or (table is None) != (test.inside is None):
        yield damaged(f"{at}.step", "it is no dispatch")
        return
    step = tested_of(test, plan)
    at_once = Tested(step, phase, plan, test.inside, table)
    parts = 0 if table is None else PART_FILLS * len(table.parts)
    yield from _number_problems(f"{at}.fills", len(test.fills), len(step.args) + parts)
    yield from _number_problems(f"{at}.expected", len(test.expected), 2 * len(step.args))
    yield from _symbol_problems(f"{at}.symbols", test, phase, plan)
    for i, fill in enumerate(test.fills):
        yield from _fill_problems(f"{at}.fills[{i}]", fill, at_once)
    for i, each in enumerate(test.expected):
        yield from _expected_problems(f"{at}.expected[{i}]", each, at_once)
    if not test.expected:
        yield damaged(f"{at}.expected", "any kernel passes a test of nothing")
    if test.after is not None:
        yield from index_problems(f"{at}.after", test.after, number)
        if plan.tests[test.after].phase != test.phase:
            yield damaged(f"{at}.after", "it is of another phase")
        if _followed(test, plan) > MOST_FOLLOWED:
            yield damaged(f"{at}.after", f"more than {MOST_FOLLOWED} follow each other")


def _number_problems(at: str, found: int, most: int) -> Iterator[PocketError]:
    if found > most:
        yield damaged(at, f"there are more than {most}")


def _followed(test: KernelTest, plan: Plan) -> int:
    """How many tests come before it, one after the other; those are sound."""
    count, before = 0, test.after
    while before is not None:
        count, before = count + 1, plan.tests[before].after
    return count


def _symbol_problems(at: str, test: KernelTest, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    """Within the phase's bounds; and of a text that has room for them."""
    if len(test.symbols) != len(plan.symbols):
        yield damaged(at, f"the plan has {len(plan.symbols)} symbols")
    box, values = plan.box(phase), {}
    for i, (symbol, value) in enumerate(zip(plan.symbols, test.symbols, strict=True)):
        low, high = box.get(symbol.name, (symbol.min, symbol.max))
        if not low <= value <= (high or 0):
            yield damaged(f"{at}[{i}]", f"{value} is not in {low} … {high}")
        values[symbol.name] = value
    seq, end = values.get("seq", 0), values.get("past", 0) + values.get("seq", 0)
    room = int(plan.model["max_context"])
    if end > room or values.get("rows", 0) > seq or values.get("start", 0) > end:
        yield damaged(at, "no text has them")


def _fill_problems(at: str, fill: Fill, tested: Tested) -> Iterator[PocketError]:
    yield from index_problems(f"{at}.arg", fill.arg, len(tested.step.args))
    kind = tested.step.args[fill.arg][0]
    if kind in ("symbols", "ticket"):
        yield damaged(f"{at}.arg", "the test's symbols, and its ticket, say what they are")
    if fill.dtype and (kind != "slots" or fill.dtype not in DTYPE_BYTES):
        yield damaged(f"{at}.dtype", f"numbers of {fill.dtype!r:.40} don't lie there")
    yield from _runs_problems(at, fill, tested, fill.dtype)
    if abs(fill.low) > MOST:
        yield damaged(f"{at}.low", f"{fill.low} is too large")
    if not 1 <= fill.span <= MOST:
        yield damaged(f"{at}.span", f"{fill.span} is no number of values")
    for i, word in enumerate(fill.words):
        if not -(2**31) <= word < 2**31:
            yield damaged(f"{at}.words[{i}]", f"{word} has more than 32 bits")
    told = len(fill.words)
    if told and (told > MOST_TOLD or told != fill.count or fill.rows > 1):
        yield damaged(f"{at}.words", "they are not as many as the elements")


def _expected_problems(at: str, expected: Expected, tested: Tested) -> Iterator[PocketError]:
    yield from _runs_problems(at, expected, tested)
    if expected.arg not in tested.step.writes:
        yield damaged(f"{at}.arg", "the dispatch doesn't write it")
    if expected.size < 0:
        yield damaged(f"{at}.size", "it is negative")
    if len(expected.sums) != SUMS:
        yield damaged(f"{at}.sums", f"there are other than {SUMS}")


def _runs_problems(
    at: str, runs: Fill | Expected, tested: Tested, dtype: str = ""
) -> Iterator[PocketError]:
    """They lie in the memory of their argument."""
    yield from index_problems(f"{at}.arg", runs.arg, len(tested.step.args))
    ref = tested.step.args[runs.arg]
    if ref[0] == "weight":
        yield damaged(f"{at}.arg", "a weight is as it is")
    room = tested.elements(ref, dtype)
    if not 0 <= runs.first <= room:
        yield damaged(f"{at}.first", f"{runs.first} is not in 0 … {room}")
    if not 1 <= runs.count <= min(MOST, room - runs.first):
        yield damaged(f"{at}.count", f"{runs.count} is not in 1 … {room - runs.first}")
    if not 1 <= runs.rows <= MOST // runs.count:
        yield damaged(f"{at}.rows", f"{runs.rows} is not in 1 … {MOST // runs.count}")
    if not 0 <= runs.stride <= room:
        yield damaged(f"{at}.stride", f"{runs.stride} is not in 0 … {room}")
    end = runs.first + (runs.rows - 1) * runs.stride + runs.count
    if runs.rows > 1 and (runs.stride < runs.count or end > room):
        yield damaged(f"{at}.rows", f"the memory has only {room} elements")
