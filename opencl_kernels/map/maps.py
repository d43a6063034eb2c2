"""Several maps (map.py) in one launch: each has an output of its own, all read the same inputs.

For those that are small, such as a token's rotated queries and its key and value on their way into
the states: a launch costs more than what they compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from opencl_kernels.case import At, Defines, Size, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, item_grid, local_size, nbytes
from opencl_kernels.map import map as one
from opencl_kernels.map.expression import in_c, operations
from opencl_kernels.map.indexed import Operand, Reading, coordinates, floats

MOST_PARTS = 4  # of a launch


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a Map says of its output."""

    axes: tuple[int, ...]
    value: str
    into: str = ""
    elements: Size | None = None
    y: str = "f32"


@dataclass(frozen=True, kw_only=True)
class Maps(Reading):
    """yj[into] = value at every coordinate of part j; no part reads what another one writes."""

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        if not 0 < len(self.parts) <= MOST_PARTS:
            raise ValueError(f"there may be up to {MOST_PARTS} parts")
        self.maps()

    def maps(self) -> list[one.Map]:
        """Each part as a case of its own."""
        return [
            one.Map(B=self.B, at=self.at, inputs=self.inputs, **vars(part)) for part in self.parts
        ]


def _reference(inputs: Mapping[str, Array], case: Maps) -> dict[str, Array]:
    """Part by part."""
    found = dict[str, Array]()
    for j, each in enumerate(case.maps()):
        before = {"y": inputs[f"y{j}"]} if each.into else {}
        found[f"y{j}"] = one.reference({**inputs, **before}, each)["y"]
    return found


def _arguments(case: Maps) -> tuple[Argument, ...]:
    """Inputs a0, a1 … and outputs y0, y1 …; what is written in part keeps what it has elsewhere."""
    outputs = (
        Argument(f"y{j}", each.y, (each.size,), "inout" if each.into else "out")
        for j, each in enumerate(case.maps())
    )
    return (*case.arguments(), *outputs)


def _defines(case: Maps, knobs: Knobs) -> Defines:
    found: Defines = {**case.operand_defines(), "PARTS": len(case.parts)}
    for j, each in enumerate(case.maps()):
        source = in_c(each.read(each.value))
        *outer, inner = each.numbers()
        last = f"i{len(outer)}"
        own: Defines = {
            "TYPE": each.y,
            "OUTER": prod(outer),
            "INNER": inner,
            "COORDINATES": coordinates(tuple(outer)) or ";",
            "LAST": last,
            "LETS": source.lets,
            "VALUE": source.value,
            "INTO": in_c(each.read(each.into)).value if each.into else f"r * {inner} + {last}",
        }
        found |= {f"{name}{j}": value for name, value in own.items()}
    return {**found, "LOCAL": local_size(knobs)}


def _grid(case: Maps, knobs: Knobs) -> Grid:
    """A work-item computes its share of each part."""
    shapes = [part.axes for part in case.parts]
    items = (prod(outer) * ceil_div(inner, knobs["PIECE"]) for *outer, inner in shapes)
    return item_grid(max(items), knobs)


def _work(case: Maps) -> tuple[int, int]:
    counts = (prod(each.axes) * operations(each.read(each.value)) for each in case.maps())
    return nbytes(_arguments(case)), sum(counts)


TURNED = "Where(i1 < 4, a0[8*i0 + i1] * a2[4*past + i1 % 4], a0[8*i0 + i1] + a3[4*past + i1 % 4])"
STATES = Maps(  # queries, and a key and a value that go to their slots
    inputs=floats(40, 33, 44, 44),
    parts=(
        Part(axes=(5, 8), value=TURNED),
        Part(axes=(3, 7), value="a1[11*i0 + i1]", into="77*i0 + 7*past + i1", elements=231),
        Part(
            axes=(3, 4),
            value="a1[11*i0 + i1 + 7]",
            into="44*i0 + 4*(past % 11) + i1",
            elements=132,
            y="f16",
        ),
    ),
    at=At(seq=1, past=9),
)
CASES = (
    STATES,
    Maps(
        inputs=(), parts=(Part(axes=(65,), value="0.5"), Part(axes=(1,), value="i0 + 7", y="i64"))
    ),
    Maps(
        inputs=(Operand("f16", 130), Operand("i32", 13)),
        parts=(
            Part(axes=(13, 10), value="Exp(a0[10*i0 + i1]) * Exp(a0[10*i0 + i1])", y="f16"),
            Part(axes=(13,), value="a1[i0] == 3", y="u8"),
            Part(axes=(7,), value="a1[i0 + 2] + 5", y="i32", into="2*i0 + 1", elements=15),
            Part(axes=(2, 3, 5, 4), value="a0[60*i0 + 4*i2 + i3 + 20*i1]"),
        ),
    ),
)
KERNEL = Kernel(
    name="maps",
    source="maps.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,), "PIECE": (1, 5)},
)
FAMILY = Family(
    name="maps",
    case=Maps,
    arguments=_arguments,
    reference=_reference,
    work=_work,
    cases=CASES,
    bench_cases=(STATES,),
    kernels=(KERNEL,),
)
