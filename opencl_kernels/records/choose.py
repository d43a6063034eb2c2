"""The ticket of a gather that a device fills: where all records of a table lie in memory, each in
the slot of its number, nobody has to wait until the host has chosen among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from opencl_kernels.case import Case, Defines
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, Requires, nbytes, worker_grid
from opencl_kernels.records.gathered import HEAD, ticket_of

RULES = ("all", "above", "above magnitude", "nonzero")  # in the order of the define BY
RULE = 4  # ints: records, the threshold's bits, how many were chosen so far, 0


@dataclass(frozen=True, kw_only=True)
class Choice(Case):
    """Which of F records are needed, by one score an index.

    ordered  an argument says which index each record has; else it is the record's number
    """

    F: int
    by: str = "above"
    ordered: bool = False

    def __post_init__(self) -> None:
        """Refuse what nothing chooses by."""
        if self.by not in RULES:
            raise ValueError(f"nothing chooses by {self.by!r}")


def reference(inputs: Mapping[str, Array], case: Choice) -> dict[str, Array]:
    """What is behind the ticket's last pair stays."""
    count, bits, so_far, _ = (int(word) for word in inputs["rule"])
    threshold = np.int32(bits).view(np.float32)
    indices = inputs["order"][:count] if case.ordered else np.arange(count)
    v = np.nan_to_num(inputs["v"], nan=0.0)[indices] if case.by != "all" else np.ones(count)
    above = np.abs(v) if case.by == "above magnitude" else v
    chosen = np.flatnonzero(above > threshold if case.by.startswith("above") else v != 0)
    ticket, found = inputs["ticket"].copy(), ticket_of(chosen, indices[chosen], len(chosen), True)
    ticket[: len(found)] = found
    rule = np.array([count, bits, so_far + len(chosen), 0], np.int32)
    return {"rule": rule, "ticket": ticket}


def _arguments(case: Choice) -> tuple[Argument, ...]:
    scores = Argument("v", "f32", (case.F,), "in", random=lambda rng: _scores(rng, case.F))
    places = Argument(
        "order", "i32", (case.F,), "weight", random=lambda rng: rng.permutation(case.F)
    )
    size = HEAD + 2 * case.F
    return (
        Argument("rule", "i32", (RULE,), "inout"),
        *((scores,) if case.by != "all" else ()),
        *((places,) if case.ordered else ()),
        Argument("ticket", "i32", (size,), "inout", random=lambda _: np.full(size, -1)),
    )


def _inputs(case: Choice) -> Mapping[str, Array]:
    return {"rule": np.array([case.F, np.float32(0.25).view(np.int32), 5, 0], np.int32)}


def _scores(rng: np.random.Generator, count: int) -> Array:
    """In 64ths, so that some are on the threshold, and zeros; and a few NaNs."""
    v = rng.integers(-32, 33, (count,)) / 64
    v[3::17] = np.nan
    return v


def _defines(case: Choice, knobs: Knobs) -> Defines:
    return {"F": case.F, "BY": RULES.index(case.by), "ORDER": int(case.ordered), **knobs}


def _work(case: Choice) -> tuple[int, int]:
    return nbytes(_arguments(case)), case.F


def _grid(_: Choice, knobs: Knobs) -> Grid:
    return (knobs["WG"],), (knobs["WG"],)


CHOOSE_CPU = Kernel(
    name="choose_cpu",
    source="choose_cpu.cl",
    classes=("cpu",),
    defines=_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 2, 3)},
)
CHOOSE = Kernel(
    name="choose",
    source="choose.cl",
    classes=("generic",),
    defines=_defines,
    grid=_grid,
    knobs={"WG": (256, 64, 128)},
    requires=lambda _, knobs: Requires(local_bytes=8 * knobs["WG"]),  # two sums of each
)
FAMILY = Family(
    name="choose",
    case=Choice,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=(
        Choice(F=65),
        Choice(F=1, by="all"),
        Choice(F=1031, by="above magnitude", ordered=True),
        Choice(F=63, by="nonzero", ordered=True),
        Choice(F=7, by="all", ordered=True),
        Choice(F=2500, by="above", ordered=True),
    ),
    bench_cases=(Choice(F=5632, ordered=True),),
    kernels=(CHOOSE_CPU, CHOOSE),
    inputs=_inputs,
)
