"""The tests of a plan's kernels: each program has one, computed in numpy from the plan's weights.

A test makes up what a dispatch reads, and tells of what it writes some sums (drawn.py). What can't
be made up, such as the greatest logits of slices, or weights that were unpacked, is what the
dispatch before it left; where none left it, programs are untested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.kernel import Argument
from toolkit.compiler.vectors.cases import TestCase, test_case
from toolkit.compiler.vectors.drawn import FLOATS, NotMadeUp, expected_of, filled, range_of
from toolkit.compiler.vectors.gathered import record_fills, slots_from, ticket_for, tokens_range
from toolkit.plan.checks.tested import tested_of
from toolkit.plan.reader import from_json
from toolkit.plan.schema import (
    Dispatch,
    Expected,
    Fill,
    KernelTest,
    Phase,
    Plan,
    Prefetch,
    Ref,
    Step,
    dispatches_of,
)
from toolkit.plan.text import to_json

OF_RECORDS = ("tokens", "indices")  # inputs that say which record a row takes
MOST_WORDS = 16  # of an input that is told word by word
TAIL = 32  # elements at the end that are looked at apart
FAINTEST = 1 / 64  # of what they usually are; errors of less than 1/4096 of that are rounding
LARGEST_HALF = 65504.0

Memory = dict[Ref, Array | None]  # None: it holds what nobody here knows
Place = tuple[int, int]  # of a dispatch: a step, and which one of the step's


def with_tests(plan: Plan, folder: Path) -> Plan:
    """The plan with tests of its programs; `folder` has its weights."""
    read = from_json(to_json(replace(plan, phases=(), weights=())))  # cases as they are read
    made = _Tests(replace(plan, programs=read.programs), folder)
    tested = set[int]()
    for p, phase in enumerate(plan.phases):
        for place in _places(phase):
            programs = {variant.program for variant in _at(phase, place).variants}
            if not programs <= tested and made.test(p, place) is not None:
                tested |= programs
    return replace(plan, tests=tuple(made.tests))


def untested_kernels(plan: Plan) -> list[str]:
    """The names of kernels of which a program has no test.

    Programs that only prefetches have need none: no answer depends on what they compute.
    """
    tested = {v.program for test in plan.tests for v in tested_of(test, plan).variants}
    steps = [step for phase in plan.phases for step in phase.steps]
    ahead = _programs(s for s in steps if isinstance(s, Prefetch))
    tested |= ahead - _programs(s for s in steps if not isinstance(s, Prefetch))
    return sorted({each.kernel for i, each in enumerate(plan.programs) if i not in tested})


def _programs(steps: Iterable[Step]) -> set[int]:
    return {v.program for step in steps for each in dispatches_of(step) for v in each.variants}


@dataclass
class _Tests:
    plan: Plan
    folder: Path
    tests: list[KernelTest] = field(default_factory=list)
    left: list[Memory] = field(default_factory=list)  # by each test
    known: dict[tuple[int, Place], int | None] = field(default_factory=dict)

    def test(self, p: int, place: Place) -> int | None:
        """The number of the test of a dispatch; None where there is none."""
        if (p, place) not in self.known:
            self.known[p, place] = self._made(p, place)
        return self.known[p, place]

    def _made(self, p: int, place: Place) -> int | None:
        phase, (s, number) = self.plan.phases[p], place
        case = test_case(self.plan, phase, phase.steps[s], number)
        after = None if case is None else self._before(p, place, case)
        if case is None or (after is None and _follows(case)):
            return None
        memory = {} if after is None else dict(self.left[after])
        for found, expected in self._computed(case, memory):
            symbols = tuple(case.symbols[each.name] for each in self.plan.symbols)
            fills = tuple(found.fills)
            test = KernelTest(p, s, symbols, fills, expected, after, case.inside)
            self.tests.append(test)
            self.left.append(found.memory)
            return len(self.tests) - 1
        return None

    def _computed(
        self, case: TestCase, memory: Memory
    ) -> Iterator[tuple[_Computed, tuple[Expected, ...]]]:
        """What comes of inputs of both signs, then of positive ones, where that has numbers."""
        for positive in (False, True):
            found = _Computed(self.plan, self.folder, case, dict(memory), positive)
            try:
                expected = found.expected()
            except NotMadeUp:
                return
            if expected:
                yield found, expected

    def _before(self, p: int, place: Place, case: TestCase) -> int | None:
        """The test of the dispatch that leaves what can't be made up."""
        names = _follows(case)
        pairs = zip(case.arguments, case.dispatch.args[1:], strict=True)
        wanted, phase = {ref for a, ref in pairs if a.name in names}, self.plan.phases[p]
        for earlier in reversed([each for each in _places(phase) if each < place]):
            step = _at(phase, earlier)
            if wanted & {step.args[i] for i in step.writes}:
                return self.test(p, earlier)
        return None


def _places(phase: Phase) -> Iterator[Place]:
    """Of all dispatches of a phase, in their order; but for those that only read ahead."""
    for s, step in enumerate(phase.steps):
        if isinstance(step, Prefetch):
            continue
        yield from ((s, number) for number in range(len(dispatches_of(step))))


def _at(phase: Phase, place: Place) -> Dispatch:
    return dispatches_of(phase.steps[place[0]])[place[1]]


def _follows(case: TestCase) -> set[str]:
    """Inputs that only another dispatch makes; of a gather, the weights that it unpacks."""
    large = {name for name, value in case.given.items() if value.size > MOST_WORDS}
    if case.inside is None:
        return large
    pairs = zip(case.arguments, case.dispatch.args[1:], strict=True)
    return large | {a.name for a, ref in pairs if a.role == "weight" and ref[0] == "scratch"}


@dataclass
class _Computed:
    """A dispatch computed in numpy."""

    plan: Plan
    folder: Path
    case: TestCase
    memory: Memory  # what was left, and then what is
    positive: bool
    fills: list[Fill] = field(default_factory=list)

    def expected(self) -> tuple[Expected, ...]:
        """Of everything that it writes; nothing where that has no numbers."""
        places = list(enumerate(zip(self.case.arguments, self.case.dispatch.args[1:], strict=True)))
        inputs = {a.name: value for i, (a, ref) in places for value in self._held(i, a, ref)}
        with np.errstate(all="ignore"):
            outputs = self.case.family.reference(inputs, self.case.case)
        found = list[Expected]()
        for i, (argument, ref) in places:
            if argument.name in outputs:
                values, dtype = outputs[argument.name], DTYPES[argument.dtype]
                if not _storable(values, dtype):
                    return ()
                found += self._told(i, argument, values.astype(_wide(dtype)), inputs)
                if not inputs:  # nothing is rounded, but memory may be 0 already
                    found += self._exact(i, argument, values.astype(_wide(dtype)))
                self.memory[ref] = values.astype(dtype).reshape(-1)
            elif argument.role in ("out", "inout"):
                self.memory[ref] = None
        if "sym" in outputs:
            found.append(expected_of(0, (1, 0), outputs["sym"][: self.plan.slots], None))
        return tuple(found)

    def _told(
        self, i: int, argument: Argument, values: Array, inputs: dict[str, Array]
    ) -> Iterator[Expected]:
        """Nothing of floats that are all 0: what rounding leaves in their place has no measure."""
        runs, before = self.case.runs(i), inputs.get(argument.name)
        whole = expected_of(i + 1, runs, values, before)
        if DTYPES[argument.dtype].kind == "f" and not whole.size:
            return
        yield whole
        if runs == (1, 0) and before is None and values.size > 2 * TAIL:
            usual = whole.size * (TAIL / values.size) ** 0.5
            yield expected_of(i + 1, runs, values, before, TAIL, FAINTEST * usual)

    def _exact(self, i: int, argument: Argument, values: Array) -> Iterator[Expected]:
        """Of floats that are all 0 where nothing is read; they weren't before."""
        runs = self.case.runs(i)
        if DTYPES[argument.dtype].kind == "f" and not values.any() and runs == (1, 0):
            self.fills.append(Fill(i + 1, values.size, *FLOATS))
            yield expected_of(i + 1, runs, values, None)

    def _held(self, i: int, argument: Argument, ref: Ref) -> Iterator[Array]:
        """What an argument holds before the launch, if anything is read of it."""
        shape, dtype = tuple(map(int, argument.shape)), DTYPES[argument.dtype]
        if argument.role == "out":
            return
        if ref[0] in ("ticket", "slots"):
            self.memory[ref] = self._handed_over(i, ref)
        if ref[0] == "weight":
            yield self._weight(int(ref[-1]), dtype).reshape(shape)
            return
        if ref not in self.memory:
            self.fills.append(self._fill(i, argument))
            self.memory[ref] = filled(self.fills[-1], dtype)
        held = self.memory[ref]
        if held is not None:
            yield held[: int(np.prod(shape))].view(dtype).reshape(shape)

    def _handed_over(self, i: int, ref: Ref) -> Array:
        """Each test has a ticket and slots of its own."""
        inside = self.case.inside
        assert inside is not None
        if ref[0] == "ticket":
            return ticket_for(inside, self.case.records)
        record = self.case.case.record
        fills = list(record_fills(i + 1, record, inside.slots))
        self.fills += fills
        return slots_from(fills, record, inside.slots).reshape(-1)

    def _fill(self, i: int, argument: Argument) -> Fill:
        rows, stride = self.case.runs(i)
        count = int(np.prod(argument.shape)) // rows
        given = self.case.given.get(argument.name)
        if given is not None and given.size <= MOST_WORDS:
            words = tuple(given.reshape(-1).view(np.int32).tolist())
            return Fill(i + 1, count, words=words)
        if self.case.inside is not None and argument.name in OF_RECORDS:
            low, span = tokens_range(self.case.records, self.case.inside)
        else:
            low, span = range_of(argument, self.positive)
        return Fill(i + 1, count, low, span, rows, stride)

    def _weight(self, number: int, dtype: np.dtype[np.generic]) -> Array:
        weight = self.plan.weights[number]
        file = self.folder / self.plan.files[weight.file].path
        count = weight.bytes // dtype.itemsize
        return np.asarray(np.memmap(file, dtype.newbyteorder("<"), "r", weight.offset, (count,)))


def _wide(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """For sums: what isn't a whole number with a sign is compared as a float."""
    return np.dtype(np.int64 if dtype.kind == "i" else np.float64)


def _storable(values: Array, dtype: np.dtype[np.generic]) -> bool:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return False
    largest = LARGEST_HALF if dtype == np.float16 else float(np.finfo(np.float32).max)
    return dtype.kind != "f" or float(np.abs(values).max(initial=0.0)) <= largest
