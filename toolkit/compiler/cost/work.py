"""What a dispatch moves and computes, where the symbols of its plan have values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import sympy

from opencl_kernels import Family
from opencl_kernels.case import At
from opencl_kernels.experts.chosen import Chosen
from opencl_kernels.records.gathered import Gathered
from toolkit.compiler.lowering.kernel_case import KernelCase, kernel_case_of
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.plan.expr import evaluate
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Dispatch, Program, Variant

FEW_ROWS = 16  # of a product: kernels reach other shares there than with many
Symbols = Mapping[str, int]


@dataclass(frozen=True)
class Work:
    """One dispatch: its family, the names of the share that it reaches, what it does."""

    family: str
    names: tuple[str, ...]  # the narrowest first
    bytes: int
    operations: int


def work_of(made: KernelCase, symbols: Symbols, batch: int) -> Work:
    """The work of a kernel's case at numbers: every buffer once, as `Family.work` counts it."""
    case = at_numbers(made.case, symbols)
    start = (0,) * batch
    at = At(symbols["seq"], symbols["past"], symbols["rows"], start, symbols["text_length"])
    moved, operations = made.family.work(replace(case, at=at))
    return Work(made.family.name, share_names(made.family, case), int(moved), int(operations))


def at_numbers(value: Any, symbols: Symbols) -> Any:
    """A case, or a value in it, whose sizes are numbers."""
    if isinstance(value, sympy.Expr):
        return evaluate(value, symbols)
    if isinstance(value, tuple):
        return tuple(at_numbers(each, symbols) for each in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    found = {each.name: getattr(value, each.name) for each in fields(value)}
    changed = {name: at_numbers(each, symbols) for name, each in found.items()}
    kept = all(changed[name] is found[name] for name in found)
    return value if kept else replace(value, **changed)


def program_of(dispatch: Dispatch, facts: Profile) -> int:
    """The number of the program that a device runs for a dispatch; raises where there is none."""
    chosen = next((v for v in dispatch.variants if _runs(v, facts)), None)
    if chosen is None:
        raise PocketError(
            f"no variant of {dispatch.name} runs on this device",
            "they need features or local memory that its profile does not have",
            "estimate the model for it: pocketcl estimate SRC --device D",
        )
    return chosen.program


def made_from(program: Program) -> KernelCase:
    """The kernel and the case of a program; raises where the plan does not tell them."""
    found = kernel_case_of(program)
    if found is None:
        because = f"it does not record the sizes that {program.kernel} was made for"
        raise PocketError("this plan cannot be estimated", because, RECOMPILE)
    return found


def of_records(made: KernelCase, most: int) -> KernelCase:
    """The same on tickets of at most so many records: what one launch of a gather computes."""
    if not isinstance(made.case, Gathered | Chosen):
        return made
    return replace(made, case=made.case.of_tickets(most))


def _runs(variant: Variant, facts: Profile) -> bool:
    has_room = (variant.local_bytes or 0) <= facts["local_memory"]
    return has_room and {*variant.requires} <= {*facts.get("features", ())}


def share_names(family: Family, case: Any) -> tuple[str, ...]:
    """By which a share is looked up, the narrowest first: `gemm e0m4 few`, `gemm e0m4`, `gemm`.

    The second word is the type of what comes from memory: of a weight, or of keys and values. The
    third tells codes or halves times halves, few rows (only a case at numbers has them) and scores
    that are computed.
    """
    weight = getattr(case, "w", None)
    dtype = getattr(case, "kv", "") if weight is None else weight.dtype
    name = family.shares_of or family.name
    stored = (f"{name} {dtype}", name) if dtype else (name,)
    return (*(f"{each} {word}" for word in _special(case) for each in stored), *stored)


def _special(case: Any) -> Iterator[str]:
    """What makes kernels of a family reach other shares than usual."""
    if getattr(case, "score", ""):
        yield "scored"
    if getattr(case, "kv", "") == getattr(case, "x", "") == "f16":
        yield "half"
    if hasattr(case, "w") and hasattr(case, "M"):
        if case.w.dtype != "f32" and _multiplied(case) == "f16":
            yield "half"
        if isinstance(case.M, int) and 1 < case.M <= FEW_ROWS:
            yield "few"


def _multiplied(case: Any) -> str:
    """The type of what is multiplied: x, or what a norm makes of it first."""
    normed = getattr(case, "norm", None) and getattr(case, "normed_as", "")
    return str(normed or getattr(case, "x", ""))
