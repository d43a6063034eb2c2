"""A family is *what* is computed; its kernels are *how*, each for some devices and cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.case import Case
from opencl_kernels.device_class import CLASSES, is_cpu_class, lineage
from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.kernel import Argument, Kernel, Role


@dataclass(frozen=True)
class Family:
    """One contract that several kernels keep: the same arguments, the same answers."""

    name: str
    case: type[Case]
    arguments: Callable[[Any], tuple[Argument, ...]]  # in order, after the leading `sym`
    reference: Callable[[Mapping[str, Array], Any], dict[str, Array]]  # in numpy
    work: Callable[[Any], tuple[int, int]]  # bytes, flops
    cases: tuple[Any, ...]  # that tests run; at numbers
    bench_cases: tuple[Any, ...]  # sizes of models from 125 M to 8 B parameters
    kernels: tuple[Kernel, ...]  # best first
    inputs: Callable[[Any], Mapping[str, Array]] = lambda _: {}  # that are not random
    symbols: Role = "in"  # "inout": it moves the position on
    shares_of: str = ""  # the family whose shares of a device's limits it reaches; "": its own
    keeps_states: bool = False  # takes KV states in place: moves nothing but new tokens' K and V


def kernels_for(family: Family, device_class: str, case: Any = None) -> list[Kernel]:
    """Kernels of the family for a class, its own before those of its parents; for a case."""
    found = [
        kernel
        for each in lineage(CLASSES[device_class])
        for kernel in family.kernels
        if each.name in kernel.classes and (kernel.on_processors or not is_cpu_class(device_class))
    ]
    return [
        kernel
        for i, kernel in enumerate(found)
        if kernel not in found[:i] and (case is None or kernel.supports(case) is None)
    ]


def random_inputs(family: Family, case: Any, rng: np.random.Generator) -> dict[str, Array]:
    """Values for every argument that a kernel of the family reads."""
    inputs: dict[str, Array] = {**family.inputs(case)}
    for argument in family.arguments(case):
        if argument.role != "out" and argument.name not in inputs:
            inputs[argument.name] = _random(argument, rng)
    return inputs


def _random(argument: Argument, rng: np.random.Generator) -> Array:
    dtype = DTYPES[argument.dtype]
    if argument.random is not None:
        return argument.random(rng).astype(dtype)
    return rng.standard_normal(argument.shape).astype(dtype)


def token_ids(shape: tuple[Any, ...], vocabulary: int) -> Callable[[np.random.Generator], Array]:
    """Random ids that reach a little past the vocabulary, for arguments that hold tokens."""
    return lambda rng: rng.integers(-2, vocabulary + 3, shape)
