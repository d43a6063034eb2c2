"""Any chain of elementwise ops over up to eight broadcast inputs: what no other kernel covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from opencl_kernels.case import At, Case, Defines, Size, c_expression, c_float
from opencl_kernels.elementwise.functions import SCALAR_OPS
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, item_grid, local_size, nbytes


@dataclass(frozen=True)
class Term:
    """A coordinate of output element i, and its stride in an input: i // outer % size * stride."""

    outer: Size
    size: Size
    stride: Size


@dataclass(frozen=True)
class Operand:
    """An input: its type, its elements (0: as many as the output), which of them i reads."""

    dtype: str = "f32"
    size: Size = 0
    index: tuple[Term, ...] | None = None  # summed up; None: element i


@dataclass(frozen=True, kw_only=True)
class Chain(Case):
    """y[count] = the last of `steps`, each an op and its operands: "Add a0 t1", "Max t0 0.25".

    a0, a1, … are inputs, t0, t1, … results of steps before, anything else is a number.
    """

    count: Size
    steps: tuple[str, ...]
    inputs: tuple[Operand, ...]
    y: str = "f32"

    def __post_init__(self) -> None:
        """Refuse steps that nothing computes."""
        for number, step in enumerate(self.steps):
            op, *operands = step.split()
            if op not in SCALAR_OPS or len(operands) != SCALAR_OPS[op].arity:
                raise ValueError(f"no step of a chain: {step!r}")
            for operand in operands:
                known = {"a": len(self.inputs), "t": number}.get(operand[0])
                if known is None:
                    float(operand)
                elif int(operand[1:]) >= known:
                    raise ValueError(f"{step!r} reads {operand}, which is not there")

    @property
    def expression(self) -> str:
        """The chain as one expression in C."""
        texts = {f"a{j}": f"a{j}" for j in range(len(self.inputs))}
        return str(self._run(texts, lambda op: SCALAR_OPS[op].c.format, _c_number))

    def value(self, inputs: Mapping[str, Array]) -> Array:
        """The chain in numpy."""
        return np.asarray(self._run(inputs, lambda op: SCALAR_OPS[op].numpy, float))

    def _run(
        self,
        inputs: Mapping[str, Any],
        function: Callable[[str], Callable[..., Any]],
        number: Callable[[str], Any],
    ) -> Any:
        known = dict(inputs)
        for j, step in enumerate(self.steps):
            op, *names = step.split()
            operands = (known[name] if name in known else number(name) for name in names)
            known[f"t{j}"] = function(op)(*operands)
        return known[f"t{len(self.steps) - 1}"]

    def at_numbers(self, size: Size) -> Any:
        """A size where the symbols have values."""
        symbols = sympy.sympify(size).free_symbols
        return sympy.sympify(size).xreplace(
            {s: sympy.sympify(getattr(self.symbols, s.name)) for s in symbols}
        )


def _c_number(text: str) -> str:
    return c_float(float(text))


def reference(inputs: Mapping[str, Array], case: Chain) -> dict[str, Array]:
    """The steps one after the other, on the elements that the index maps choose."""
    i = np.arange(int(case.at_numbers(case.count)))
    chosen = {}
    for j, operand in enumerate(case.inputs):
        chosen[f"a{j}"] = inputs[f"a{j}"].astype(np.float64)[_index(case, operand, i)]
    return {"y": np.broadcast_to(case.value(chosen), i.shape)}


def _index(case: Chain, operand: Operand, i: Array) -> Array:
    if operand.index is None:
        return i
    total = np.zeros_like(i)
    for term in operand.index:
        outer, size, stride = (
            int(case.at_numbers(each)) for each in (term.outer, term.size, term.stride)
        )
        total += i // outer % size * stride
    return total


def index_text(operand: Operand) -> str:
    """The index map as C over i."""
    if operand.index is None:
        return "i"
    return " + ".join(map(_term_text, operand.index)) or "0"


def _term_text(term: Term) -> str:
    place = "i" if term.outer == 1 else f"(i / {c_expression(term.outer)})"
    return f"{place} % {c_expression(term.size)} * {c_expression(term.stride)}"


def _arguments(case: Chain) -> tuple[Argument, ...]:
    count = case.at_numbers(case.count)
    sizes = (case.at_numbers(each.size) or count for each in case.inputs)
    inputs = (
        Argument(f"a{j}", each.dtype, (size,), "in")
        for j, (each, size) in enumerate(zip(case.inputs, sizes, strict=True))
    )
    return (*inputs, Argument("y", case.y, (count,), "out"))


def _defines(case: Chain, knobs: Knobs) -> Defines:
    types = {f"A{j}": each.dtype for j, each in enumerate(case.inputs)} | {"Y": case.y}
    return {
        **{f"{name}_HALF": int(dtype == "f16") for name, dtype in types.items()},
        **{f"IDX{j}(i)": f"({index_text(each)})" for j, each in enumerate(case.inputs)},
        "INPUTS": len(case.inputs),
        "EXPR": f"({case.expression})",
        "COUNT": c_expression(case.count),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Chain, knobs: Knobs) -> Grid:
    return item_grid(case.at_numbers(case.count), knobs)


def _work(case: Chain) -> tuple[int, int]:
    return nbytes(_arguments(case)), int(case.at_numbers(case.count)) * len(case.steps)


ONE, TWO = (Operand(),), (Operand(), Operand())
SEQ = sympy.Symbol("seq", integer=True, nonnegative=True)

ELEMENTWISE = Kernel(
    name="elementwise",
    source="elementwise.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="elementwise",
    case=Chain,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=(
        Chain(count=7, steps=("Add a0 a1",), inputs=TWO),
        Chain(count=63, steps=("Identity 0.5",), inputs=()),
        Chain(
            count=65,
            steps=("Sub a0 a1", "Max t0 0.25", "Exp a2", "Mul t1 t2"),
            inputs=(
                Operand(),
                Operand(size=13, index=(Term(1, 13, 1),)),
                Operand(size=5, index=(Term(13, 5, 1),)),
            ),
        ),
        Chain(
            count=12 * SEQ,
            steps=("Sigmoid a0", "Mul a0 t0", "Mul t1 a1"),
            inputs=(Operand("f16"), Operand()),
            y="f16",
            at=At(seq=7),
        ),
        Chain(
            count=130,
            steps=(
                *("Mul a1 a2", "Add a0 t0", "Sub t1 a3", "Mul a4 a5", "Add t2 t3"),
                *("Mul a6 a7", "Sub t4 t5"),
            ),
            inputs=4 * TWO,
        ),
    ),
    bench_cases=(Chain(count=1 << 20, steps=("Add a0 a1",), inputs=TWO),),
    kernels=(ELEMENTWISE,),
)
