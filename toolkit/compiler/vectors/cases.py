"""A dispatch of a plan as it is tested: at which symbols, and what its arguments are there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from opencl_kernels import Family
from opencl_kernels.case import At
from opencl_kernels.experts.chosen import Chosen
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument
from opencl_kernels.records.gathered import Gathered
from toolkit.compiler.cost.work import at_numbers
from toolkit.compiler.lowering.kernel_case import kernel_case_of
from toolkit.compiler.vectors.gathered import inside_of
from toolkit.plan.checks.values import RECORDS
from toolkit.plan.schema import Dispatch, Gather, Inside, Phase, Plan, Step, dispatches_of

# New tokens: more than a tile has rows, but for large models. Few, where that takes too long.
SEQ, PAST, ROWS, START = (35, 3, 1), 69, 3, 1
SLOTS = 128  # of a KV state: more than there are tokens
MOST_OPERATIONS, MOST_ELEMENTS = 2**32, 2**23
# A sampler that draws: of the likeliest ids, after penalties.
SAMPLING = {"temperature": 1.0, "top_k": 40, "repetition_penalty": 1.1, "seed": 7, "logprobs": 1}


@dataclass(frozen=True)
class TestCase:
    """A dispatch at numbers."""

    dispatch: Dispatch
    family: Family
    case: Any
    whole: tuple[Argument, ...]  # as the plan has them
    arguments: tuple[Argument, ...]  # the same, but that KV states have no more than SLOTS
    symbols: Mapping[str, int]
    given: Mapping[str, Array]  # what the family says of its inputs
    inside: Inside | None = None  # of a gather
    records: int = 0  # of its table

    def runs(self, index: int) -> tuple[int, int]:
        """How many runs of an argument are tested, and elements from one to the next."""
        shape, short = (
            [int(n) for n in each[index].shape] for each in (self.whole, self.arguments)
        )
        if shape == short:
            return 1, 0
        axis = next(i for i, (a, b) in enumerate(zip(shape, short, strict=True)) if a != b)
        return int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))


def test_case(plan: Plan, phase: Phase, step: Step, number: int) -> TestCase | None:
    """Of a step's dispatches the one of this number.

    None where the plan doesn't tell what it computes, or it is too large to be computed here.
    """
    dispatch, gather = dispatches_of(step)[number], step if isinstance(step, Gather) else None
    inside = None if gather is None else inside_of(plan, gather, number)
    made = (kernel_case_of(plan.programs[each.program]) for each in dispatch.variants)
    found = next((each for each in made if each is not None), None)
    if found is None:
        return None
    for symbols in _symbols(plan, phase):
        known = symbols if inside is None else {**symbols, RECORDS: inside.records}
        case = _at(found.case, known, int(plan.model["batch"]))
        if inside is not None and isinstance(case, Gathered | Chosen):
            case = case.of_slots(inside.slots)
        if test := _affordable(dispatch, found.family, case, symbols):
            records = 0 if gather is None else plan.tables[gather.table].count
            return replace(test, inside=inside, records=records)
    return None


def _affordable(
    dispatch: Dispatch, family: Family, case: Any, symbols: Mapping[str, int]
) -> TestCase | None:
    whole = family.arguments(case)
    if len(whole) + 1 != len(dispatch.args):
        return None  # compiled by another version
    if any(argument.is_state for argument in whole):
        case = replace(case, C=min(case.C, SLOTS))
    arguments = family.arguments(case)
    elements = (
        int(np.prod(argument.shape))
        for argument, ref in zip(arguments, dispatch.args[1:], strict=True)
        if ref[0] != "weight"
    )
    if sum(elements) > MOST_ELEMENTS or family.work(case)[1] > MOST_OPERATIONS:
        return None
    return TestCase(dispatch, family, case, whole, arguments, symbols, family.inputs(case))


def _symbols(plan: Plan, phase: Phase) -> Iterator[dict[str, int]]:
    """Values for every symbol of a plan, within the bounds of the phase."""
    box, context = plan.box(phase), int(plan.model["max_context"])
    for seq in SEQ:
        values = {"seq": seq, "past": PAST, "rows": ROWS, "start": START}
        for name in ("seq", "past", "rows"):
            low, high = box[name]
            values[name] = max(low, min(values[name], high or 0))
        values["past"] = max(box["past"][0], min(values["past"], context - values["seq"]))
        values["rows"] = min(values["rows"], values["seq"])
        total = values["past"] + values["seq"]
        values |= {"start": min(START, total - 1), "text_length": total}
        yield {each.name: values.get(each.name, each.min) for each in plan.symbols}


def _at(case: Any, symbols: Mapping[str, int], batch: int) -> Any:
    """A case at numbers; a sampler draws."""
    total = symbols.get("text_length", symbols["past"] + symbols["seq"])
    start = (symbols["start"],) * batch
    at = At(symbols["seq"], symbols["past"], symbols["rows"], start, total)
    drawn = {"options": SAMPLING} if "options" in {each.name for each in fields(case)} else {}
    known = {**symbols, "text_length": total}
    return replace(at_numbers(case, known), at=at, **drawn)
