"""What the tests of a plan's kernels must be: dispatches at symbols that a text has, in memory."""

from collections.abc import Iterator

from toolkit.errors import PocketError
from toolkit.plan.checks.values import index_problems
from toolkit.plan.reader import damaged
from toolkit.plan.schema import DTYPE_BYTES, Dispatch, Expected, Fill, KernelTest, Phase, Plan, Ref

MOST = 2**24  # elements, and values that are made up
MOST_TOLD = 4096  # elements that are told one by one
SUMS = 8
MOST_FOLLOWED = 8  # tests, each of which follows the one before


def tests_problems(plan: Plan) -> Iterator[PocketError]:
    """Of the tests of a plan that is sound otherwise."""
    if len(plan.tests) > sum(len(phase.steps) for phase in plan.phases):
        yield damaged("tests", "there are more than steps")  # a dispatch has one at most
    for number, test in enumerate(plan.tests):
        yield from _test_problems(number, test, plan)


def _test_problems(number: int, test: KernelTest, plan: Plan) -> Iterator[PocketError]:
    at = f"tests[{number}]"
    yield from index_problems(f"{at}.phase", test.phase, len(plan.phases))
    phase = plan.phases[test.phase]
    yield from index_problems(f"{at}.step", test.step, len(phase.steps))
    step = phase.steps[test.step]
    if not isinstance(step, Dispatch):
        yield damaged(f"{at}.step", "it is no dispatch")
        return
    yield from _number_problems(f"{at}.fills", len(test.fills), len(step.args))
    yield from _number_problems(f"{at}.expected", len(test.expected), 2 * len(step.args))
    yield from _symbol_problems(f"{at}.symbols", test, phase, plan)
    for i, fill in enumerate(test.fills):
        yield from _fill_problems(f"{at}.fills[{i}]", fill, step, phase, plan)
    for i, each in enumerate(test.expected):
        yield from _expected_problems(f"{at}.expected[{i}]", each, step, phase, plan)
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


def _fill_problems(
    at: str, fill: Fill, step: Dispatch, phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    yield from _runs_problems(at, fill, step, phase, plan)
    if step.args[fill.arg][0] == "symbols":
        yield damaged(f"{at}.arg", "the test's symbols say what they are")
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


def _expected_problems(
    at: str, expected: Expected, step: Dispatch, phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    yield from _runs_problems(at, expected, step, phase, plan)
    if expected.arg not in step.writes:
        yield damaged(f"{at}.arg", "the dispatch doesn't write it")
    if expected.size < 0:
        yield damaged(f"{at}.size", "it is negative")
    if len(expected.sums) != SUMS:
        yield damaged(f"{at}.sums", f"there are other than {SUMS}")


def _runs_problems(
    at: str, runs: Fill | Expected, step: Dispatch, phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    """They lie in the memory of their argument."""
    yield from index_problems(f"{at}.arg", runs.arg, len(step.args))
    ref = step.args[runs.arg]
    if ref[0] == "weight":
        yield damaged(f"{at}.arg", "a weight is as it is")
    room, first = _elements(ref, phase, plan), getattr(runs, "first", 0)
    if not 0 <= first <= room:
        yield damaged(f"{at}.first", f"{first} is not in 0 … {room}")
    if not 1 <= runs.count <= min(MOST, room - first):
        yield damaged(f"{at}.count", f"{runs.count} is not in 1 … {room - first}")
    if not 1 <= runs.rows <= MOST // runs.count:
        yield damaged(f"{at}.rows", f"{runs.rows} is not in 1 … {MOST // runs.count}")
    if not 0 <= runs.stride <= room:
        yield damaged(f"{at}.stride", f"{runs.stride} is not in 0 … {room}")
    end = first + (runs.rows - 1) * runs.stride + runs.count
    if runs.rows > 1 and (runs.stride < runs.count or end > room):
        yield damaged(f"{at}.rows", f"the memory has only {room} elements")


def _elements(ref: Ref, phase: Phase, plan: Plan) -> int:
    if ref[0] == "symbols":
        return plan.slots
    memory = (phase.scratch if ref[0] == "scratch" else plan.buffers)[int(ref[-1])]
    return memory.bytes // DTYPE_BYTES[memory.dtype]
