"""Neurons of a gated unit (or of one without a gate) that lie in records: a share of their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.case import At, Defines, Size
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Grid,
    Kernel,
    Knobs,
    Requires,
    nbytes,
    storage_defines,
    worker_grid,
)
from opencl_kernels.layouts import F16, quantized
from opencl_kernels.map.expression import Node, evaluate, in_c, operations, parsed
from opencl_kernels.map.functions import FLOAT
from opencl_kernels.records import gathered
from opencl_kernels.records.gathered import Gathered, shares

GATES = ("none", "part", "given")  # where the gate comes from, in the order of the define GATE
SILU, GELU = "v * Sigmoid(v)", "0.5 * v * (1.0 + Erf(v * 0.70710678))"


@dataclass(frozen=True, kw_only=True)
class Neurons(Gathered):
    """part[g] += sum over its share of h[i] * down.

    h[i] = act(gate . x + bg[i]) * up_act(up . x + bu[i]), x a row of x[M, D]. A record is gate, up,
    down; where a gate is given, or there is none, it may be up, down. Without a gate, h[i] is
    up_act(up . x + bu[i]). Activations are expressions over v.
    """

    M: Size
    G: int  # partial sums
    gate: str = "part"
    act: str = SILU
    up_act: str = "v"
    gate_bias: bool = False
    up_bias: bool = False
    x: str = "f32"
    v: str = "f32"  # gates that are given, before bias and activation

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        if self.gate not in GATES or 2 + (self.gate == "part") > self.PARTS:
            raise ValueError(f"records of {self.PARTS} parts have no gate {self.gate!r}")
        for text in (self.act, self.up_act):
            activation(text)


def activation(text: str) -> Node:
    """An expression over v; raises ValueError where it is none."""
    node = parsed(text, (), ("v",))
    if node.kind != FLOAT:
        raise ValueError(f"{text!r} is no float over v")
    return node


def reference(inputs: Mapping[str, Array], case: Neurons) -> dict[str, Array]:
    """Each share of the ticket's records by itself."""
    indices, parts = case.chosen(inputs)
    x_MD = inputs["x"].astype(np.float64)
    h_MR = _applied(case.up_act, x_MD @ parts[-2].T + _bias(inputs, "bu", indices))
    if case.gate != "none":
        given = inputs["v"][:, indices] if case.gate == "given" else x_MD @ parts[0].T
        h_MR = _applied(case.act, given + _bias(inputs, "bg", indices)) * h_MR
    each = [h_MR[:, share] @ parts[-1][share] for share in shares(len(indices), case.G)]
    return gathered.summed(inputs, "part", np.stack(each))


def _applied(text: str, values: Array) -> Array:
    return np.asarray(evaluate(activation(text), {"v": np.asarray(values, np.float64)}))


def _bias(inputs: Mapping[str, Array], name: str, indices: Array) -> Array | float:
    return inputs[name][indices].astype(np.float64) if name in inputs else 0.0


def _arguments(case: Neurons) -> tuple[Argument, ...]:
    given = [Argument("v", case.v, (case.M, case.F), "in")] if case.gate == "given" else []
    biases = {"bg": case.gate_bias, "bu": case.up_bias}
    return (
        *case.gathered(),
        Argument("x", case.x, (case.M, case.D), "in"),
        *given,
        *(Argument(name, "f32", (case.F,), "weight") for name, has in biases.items() if has),
        Argument("part", "f32", (case.G, case.M, case.D), "inout"),
    )


def _defines(case: Neurons, knobs: Knobs) -> Defines:
    act, up_act = (in_c(activation(text)) for text in (case.act, case.up_act))
    return {
        **gathered.defines(case),
        **storage_defines(case, "x", "v"),
        **knobs,
        "G": case.G,
        "GATE": GATES.index(case.gate),
        "SPARSE": int(not _applied(case.act, np.array(-1.0))),
        "GATE_BIAS": int(case.gate_bias),
        "UP_BIAS": int(case.up_bias),
        **{"LETS": act.lets or ";", "VALUE": act.value},
        **{"UP_LETS": up_act.lets or ";", "UP_VALUE": up_act.value},
    }


def _work(case: Neurons) -> tuple[int, int]:
    """All records of a full ticket; a multiplication and an addition for each of their numbers."""
    ticket, _, *rest = _arguments(case)
    moved = case.T * case.record.nbytes + nbytes((ticket, *rest))
    hidden = sum(operations(activation(text)) for text in (case.act, case.up_act))
    return moved, case.M * case.T * (2 * (2 + (case.gate == "part")) * case.D + hidden)


E0M4, SYMMETRIC = quantized("e0m4", 32, "f16", "u8"), quantized("e0m4", 32, "f16")
SMALL: dict[str, Any] = {"S": 9, "T": 7, "F": 20, "G": 2}
CASES = (
    Neurons(M=1, PARTS=3, D=65, w=E0M4, **SMALL),
    Neurons(M=1, PARTS=3, D=300, w=SYMMETRIC, act="Relu(v)", gate_bias=True, up_bias=True, S=40,
            T=38, F=63, G=3),
    Neurons(M=3, PARTS=2, D=63, w=F16, gate="none", act="v", up_act=GELU, up_bias=True, x="f16",
            **SMALL, at=At(seq=3)),
    Neurons(M=5, PARTS=3, D=130, w=quantized("e0m4", 16, "f16", "u8"), gate="given", gate_bias=True,
            v="f16", act="Where(v > 0.25, v, 0.0)", S=33, T=30, F=35, G=1, at=At(seq=5)),
    Neurons(M=2, PARTS=2, D=7, w=SYMMETRIC, gate="given", act="Relu(v)", up_act="Relu(v)", B=2,
            at=At(seq=1), **SMALL),
    Neurons(M=1, PARTS=2, D=1030, w=quantized("e0m4", 256, "f16", "u8"), gate="none",
            up_act="Relu(v) * Relu(v)", S=17, T=16, F=65, G=5, x="f16"),
    Neurons(M=1, PARTS=3, D=65, w=E0M4, S=9, T=0, F=9, G=2),
    Neurons(M=1, PARTS=3, D=515, w=F16, act="Relu(v)", S=17, T=15, F=17, G=2),
    Neurons(M=4, PARTS=3, D=1031, w=E0M4, S=70, T=67, F=97, G=4, at=At(seq=4)),
)  # fmt: skip
BENCH: dict[str, Any] = {"M": 1, "PARTS": 3, "D": 2048, "w": E0M4, "S": 1024, "F": 5632, "G": 8}
NEURONS_CPU = Kernel(
    name="neurons_cpu",
    source="neurons_cpu.cl",
    classes=("cpu",),
    defines=_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 2, 3), "PREFETCH": (8, 0, 4, 16)},
)


def _grid(case: Neurons, knobs: Knobs) -> Grid:
    return (case.G * knobs["WG"], case.M), (knobs["WG"], 1)


NEURONS = Kernel(
    name="neurons",
    source="neurons.cl",
    classes=("generic",),
    defines=_defines,
    grid=_grid,
    knobs={"WG": (128, 64, 256)},
    requires=lambda _, knobs: Requires(local_bytes=32 * knobs["WG"]),  # eight sums of each
)
FAMILY = Family(
    name="neurons",
    case=Neurons,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=(
        Neurons(**BENCH, T=1024),
        Neurons(**BENCH, T=64),
        Neurons(**BENCH, T=1024, act="Relu(v)"),
    ),
    kernels=(NEURONS_CPU, NEURONS),
)
