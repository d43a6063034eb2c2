"""Tensors looked at while a plan runs (`run --on host --dump NAME`)."""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.nearest import unknown
from toolkit.plan.schema import Dispatch, Gather, Plan, Prefetch

ALL = "all"
Sink: TypeAlias = "Callable[[Dumped], None]"


@dataclass(frozen=True)
class Dumped:
    """What a tensor held right after a step that wrote it."""

    phase: str
    step: int  # index into the phase's steps
    dispatch: str
    tensor: str
    value: npt.NDArray[Any]

    def __str__(self) -> str:
        where = f"{self.phase} {self.step} {self.dispatch}"
        shape = " x ".join(str(d) for d in self.value.shape)
        return f"{where}: {self.tensor} {self.value.dtype}[{shape}] {_summary(self.value)}"


def print_dumped(dumped: Dumped) -> None:
    """One line on stderr per tensor."""
    print(dumped, file=sys.stderr)


def check_names(plan: Plan, names: Collection[str]) -> None:
    """Raise unless every name is a tensor that some step may write, other than to read ahead."""
    known = {s.name for phase in plan.phases for s in phase.scratch}
    known |= {b.name for b in plan.buffers} | {ALL}
    ahead = _only_ahead(plan)
    for name in names:
        if name in ahead:
            because = "it is a guess of what to read early, that no answer depends on"
            hint = f"--dump {ALL} shows those that answers are computed of"
            raise PocketError(f"'{name}' is not dumped", because, hint)
        if name not in known:
            raise unknown(
                f"no tensor is called '{name}'",
                name,
                sorted(known),
                f"--dump {ALL} shows every one",
            )


def _only_ahead(plan: Plan) -> set[str]:
    """Scratch that only steps write that a run leaves out where it reads nothing ahead."""
    ahead, others = set[str](), set[str]()
    for phase in plan.phases:
        for step in phase.steps:
            inside = step.dispatches if isinstance(step, Gather | Prefetch) else (step,)
            for each in (each for each in inside if isinstance(each, Dispatch)):
                refs = (each.args[i] for i in each.writes)
                names = {phase.scratch[int(r[-1])].name for r in refs if r[0] == "scratch"}
                (ahead if isinstance(step, Prefetch) else others).update(names)
    return ahead - others


def _summary(value: npt.NDArray[Any]) -> str:
    first = np.array2string(value.reshape(-1)[:6], precision=5, separator=" ", max_line_width=10**6)
    if value.dtype.kind != "f" or not value.size:
        return first
    wide = value.astype(np.float64)
    bad = int(np.size(wide) - np.isfinite(wide).sum())
    return f"{first} rms {np.sqrt(np.mean(wide**2)):.5g}" + (f" NOT FINITE: {bad}" if bad else "")
