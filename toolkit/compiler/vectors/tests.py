"""The tests of a plan's kernels: each program has one, computed in numpy from the plan's weights.

A test makes up what a dispatch reads, and tells of what it writes some sums (drawn.py). What can't
be made up, such as the greatest logits of slices, is what the dispatch before it left; where none
left it, as with tickets of records, programs are untested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.kernel import Argument
from toolkit.compiler.vectors.cases import TestCase, test_case
from toolkit.compiler.vectors.drawn import NotMadeUp, expected_of, filled, range_of
from toolkit.plan.reader import from_json
from toolkit.plan.schema import Dispatch, Expected, Fill, KernelTest, Plan, Ref
from toolkit.plan.text import to_json

MOST_WORDS = 16  # of an input that is told word by word
TAIL = 32  # elements at the end that are looked at apart
FAINTEST = 1 / 64  # of what they usually are; errors of less than 1/4096 of that are rounding
LARGEST_HALF = 65504.0

Memory = dict[Ref, Array | None]  # None: it holds what nobody here knows


def with_tests(plan: Plan, folder: Path) -> Plan:
    """The plan with tests of its programs; `folder` has its weights."""
    read = from_json(to_json(replace(plan, phases=(), weights=())))  # cases as they are read
    made = _Tests(replace(plan, programs=read.programs), folder)
    tested = set[int]()
    for p, phase in enumerate(plan.phases):
        for s, step in enumerate(phase.steps):
            if isinstance(step, Dispatch):
                programs = {variant.program for variant in step.variants}
                if not programs <= tested and made.test(p, s) is not None:
                    tested |= programs
    return replace(plan, tests=tuple(made.tests))


def untested_kernels(plan: Plan) -> list[str]:
    """The names of kernels of which a program has no test."""
    steps = (plan.phases[test.phase].steps[test.step] for test in plan.tests)
    tested = {v.program for step in steps if isinstance(step, Dispatch) for v in step.variants}
    return sorted({each.kernel for i, each in enumerate(plan.programs) if i not in tested})


@dataclass
class _Tests:
    plan: Plan
    folder: Path
    tests: list[KernelTest] = field(default_factory=list)
    left: list[Memory] = field(default_factory=list)  # by each test
    known: dict[tuple[int, int], int | None] = field(default_factory=dict)

    def test(self, p: int, s: int) -> int | None:
        """The number of the test of a dispatch; None where there is none."""
        if (p, s) not in self.known:
            self.known[p, s] = self._made(p, s)
        return self.known[p, s]

    def _made(self, p: int, s: int) -> int | None:
        phase = self.plan.phases[p]
        step = phase.steps[s]
        assert isinstance(step, Dispatch)
        case = test_case(self.plan, phase, step)
        after = None if case is None else self._before(p, s, case)
        if case is None or (after is None and _follows(case)):
            return None
        memory = {} if after is None else dict(self.left[after])
        for found, expected in self._computed(case, memory):
            symbols = tuple(case.symbols[each.name] for each in self.plan.symbols)
            test = KernelTest(p, s, symbols, tuple(found.fills), expected, after)
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

    def _before(self, p: int, s: int, case: TestCase) -> int | None:
        """The test of the dispatch that leaves what can't be made up."""
        names = _follows(case)
        pairs = zip(case.arguments, case.dispatch.args[1:], strict=True)
        wanted = {ref for argument, ref in pairs if argument.name in names}
        for earlier in range(s - 1, -1, -1):
            step = self.plan.phases[p].steps[earlier]
            if isinstance(step, Dispatch) and wanted & {step.args[i] for i in step.writes}:
                return self.test(p, earlier)
        return None


def _follows(case: TestCase) -> set[str]:
    """Inputs that only another dispatch makes."""
    return {name for name, value in case.given.items() if value.size > MOST_WORDS}


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

    def _held(self, i: int, argument: Argument, ref: Ref) -> Iterator[Array]:
        """What an argument holds before the launch, if anything is read of it."""
        shape, dtype = tuple(map(int, argument.shape)), DTYPES[argument.dtype]
        if argument.role == "out":
            return
        if ref[0] == "weight":
            yield self._weight(int(ref[-1]), dtype).reshape(shape)
            return
        if ref not in self.memory:
            self.fills.append(self._fill(i, argument))
            self.memory[ref] = filled(self.fills[-1], dtype)
        held = self.memory[ref]
        if held is not None:
            yield held[: int(np.prod(shape))].view(dtype).reshape(shape)

    def _fill(self, i: int, argument: Argument) -> Fill:
        rows, stride = self.case.runs(i)
        count = int(np.prod(argument.shape)) // rows
        given = self.case.given.get(argument.name)
        if given is not None and given.size <= MOST_WORDS:
            words = tuple(given.reshape(-1).view(np.int32).tolist())
            return Fill(i + 1, count, words=words)
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
