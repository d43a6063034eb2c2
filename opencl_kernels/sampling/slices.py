"""Choosing the next id in three launches, of which two read the vocabulary with many work-groups.

    sample_best  ->  sample_weights  ->  sample_pick

For GPUs, where one work-group would take milliseconds. The ids are those of the family `sample`,
and its reference says how they are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from opencl_kernels.case import Defines
from opencl_kernels.family import Family, token_ids
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, Requires, Role
from opencl_kernels.sampling import sample
from opencl_kernels.sampling.sample import Choice
from opencl_kernels.sampling.slices_reference import (
    BINS,
    best_reference,
    last_rows,
    masses_of,
    pick_reference,
    weights_reference,
)
from opencl_kernels.tuned import usual_knobs

MOST_GROUPS = 64  # every work-group reads what each of them has found
LEAST_SLICE = 512  # ids that are worth a work-group
COUNTS = 4096  # bytes of local memory: how often the text has each id of a tile
LISTED = 1024  # weights that sample_pick lists in local memory


def groups_of(vocabulary: int, compute_units: int) -> int:
    """Into how many slices a vocabulary is cut on a device: several for each compute unit."""
    return max(1, min(4 * compute_units, MOST_GROUPS, vocabulary // LEAST_SLICE))


def _arguments(case: Choice, **roles: Role) -> tuple[Argument, ...]:
    """Of all that the launches share, those that one has, in its order."""
    new, text = (case.B * case.symbols.seq,), (case.B, case.C + 1)
    every = {
        "logits": ("f32", (case.M, case.V)),
        "sampling": ("i32", (sample.PARAMETERS,)),
        "tokens": ("i32", new),
        "ids": ("i32", text),
        "weights": ("u32", (case.B, case.V)),
        "tops": ("f32", (case.B, case.GROUPS, 2)),
        "top_ids": ("i32", (case.B, case.GROUPS)),
        "histogram": ("u32", (case.B, 3, BINS)),
        "masses": ("u32", (case.B, case.GROUPS, 4)),
        "logprobs": ("f32", text),
    }
    ids = {"tokens": token_ids(new, case.V), "ids": token_ids(text, case.V)}
    return tuple(Argument(n, *every[n], role, random=ids.get(n)) for n, role in roles.items())


def _best_arguments(case: Choice) -> tuple[Argument, ...]:
    return _arguments(
        case, logits="in", sampling="in", tokens="in", ids="inout",
        tops="out", top_ids="out", histogram="out",
    )  # fmt: skip


def _weights_arguments(case: Choice) -> tuple[Argument, ...]:
    return _arguments(
        case, logits="in", sampling="in", tops="in", top_ids="in", ids="in", weights="out",
        histogram="inout", masses="out",
    )  # fmt: skip


def _pick_arguments(case: Choice) -> tuple[Argument, ...]:
    return _arguments(
        case, logits="in", sampling="in", tops="in", top_ids="in", weights="in",
        histogram="in", masses="in", tokens="inout", ids="inout", logprobs="inout",
    )  # fmt: skip


def _given(case: Choice) -> dict[str, Array]:
    return {"sampling": sample.packed_parameters(**(case.options or {}))}


def _before_weights(case: Choice) -> dict[str, Array]:
    """What the first launch leaves, of random logits and texts."""
    rng = np.random.default_rng(0)
    inputs: dict[str, Array] = _given(case)
    for argument in _arguments(case, logits="in", tokens="in", ids="in", logprobs="in"):
        if argument.random is None:
            inputs[argument.name] = rng.standard_normal(argument.shape).astype(np.float32)
        else:
            inputs[argument.name] = argument.random(rng).astype(np.int32)
    return inputs | best_reference(inputs, case)


def _before_pick(case: Choice) -> dict[str, Array]:
    none = np.zeros((case.B, case.V), np.uint32)  # where no id is drawn
    inputs = {"weights": none} | _before_weights(case)
    inputs |= weights_reference(inputs, case)
    rows = zip(inputs["weights"], last_rows(inputs, case), strict=True)
    masses = [
        np.concatenate([masses_of(w, case), masses_of(sample.weights(row), case)], -1)
        for w, row in rows
    ]
    return inputs | {"masses": np.stack(masses)}


def _named(values: Mapping[str, Array], arguments: tuple[Argument, ...]) -> dict[str, Array]:
    return {a.name: values[a.name] for a in arguments if a.role != "out"}


def _defines(case: Choice, knobs: Knobs) -> Defines:
    return {"B": case.B, "V": case.V, "C": case.C, "GROUPS": case.GROUPS, "WG": knobs["WG"]}


def _slices_grid(case: Choice, knobs: Knobs) -> Grid:
    return (case.GROUPS * knobs["WG"], case.B), (knobs["WG"], 1)


def _pick_grid(_: Choice, knobs: Knobs) -> Grid:
    return (knobs["WG"],), (knobs["WG"],)


def _one_pass(case: Choice) -> tuple[int, int]:
    return 4 * case.B * case.V, 3 * case.B * case.V


def _weights_work(case: Choice) -> tuple[int, int]:
    """Where an id is drawn, logits are read and weights are written."""
    drawn = bool((case.options or {}).get("temperature"))
    found = 2 + 1 + 4  # tops, top_ids, masses
    return (8 * drawn * case.V + 4 * found * case.GROUPS) * case.B, 6 * drawn * case.B * case.V


def _pick_work(case: Choice) -> tuple[int, int]:
    """The weights are read once, where an id is drawn: more often if many are alike."""
    drawn = bool((case.options or {}).get("temperature"))
    return 4 * (3 * BINS + drawn * case.V) * case.B, (BINS + 2 * drawn * case.V) * case.B


CASES = (
    replace(sample.CASES[0], GROUPS=2),
    *(replace(case, GROUPS=1 + i % 5) for i, case in enumerate(sample.CASES[1:])),
)
BENCH_CASES = tuple(replace(case, GROUPS=groups_of(case.V, 8)) for case in sample.BENCH_CASES)

Inputs = Callable[[Choice], Mapping[str, Array]]


def _launch(
    name: str,
    arguments: Callable[[Choice], tuple[Argument, ...]],
    reference: Callable[[Mapping[str, Array], Choice], dict[str, Array]],
    work: Callable[[Choice], tuple[int, int]],
    inputs: Inputs,
    grid: Callable[[Choice, Knobs], Grid],
    item_bytes: int,
    more_bytes: int,
    symbols: Role = "in",
) -> Family:
    """One of the three: a family of one kernel.

    Its local memory is `item_bytes` for each work-item of a group, and `more_bytes`.
    """
    kernel = Kernel(
        name=name,
        source=f"{name}.cl",
        classes=("generic",),
        defines=_defines,
        grid=grid,
        knobs={"WG": (256, 64)},
        requires=lambda _, knobs: Requires(local_bytes=item_bytes * knobs["WG"] + more_bytes),
    )
    return Family(
        name=name,
        case=Choice,
        arguments=arguments,
        reference=reference,
        work=work,
        cases=CASES,
        bench_cases=BENCH_CASES,
        kernels=(kernel,),
        inputs=inputs,
        symbols=symbols,
    )


BEST = _launch(
    *("sample_best", _best_arguments, best_reference, _one_pass, _given, _slices_grid),
    item_bytes=8 + 4,  # the best of each
    more_bytes=COUNTS,
)
WEIGHTS = _launch(
    *("sample_weights", _weights_arguments, weights_reference, _weights_work),
    inputs=lambda case: _named(_before_weights(case), _weights_arguments(case)),
    grid=_slices_grid,
    item_bytes=0,
    more_bytes=4 * 3 * BINS + COUNTS,
)
PICK = _launch(
    *("sample_pick", _pick_arguments, pick_reference, _pick_work),
    inputs=lambda case: _named(_before_pick(case), _pick_arguments(case)),
    grid=_pick_grid,
    item_bytes=8,
    more_bytes=4 * (3 * (BINS + 1) + 1) + 8 * LISTED,
    symbols="inout",
)
LAUNCHES = (BEST, WEIGHTS, PICK)  # in this order


def fits(case: Choice, device_class: str, local_memory: int) -> bool:
    """Whether each of the launches has as much local memory as it needs."""
    return all(
        usual_knobs(kernel, case, device_class, local_memory) is not None
        for family in LAUNCHES
        for kernel in family.kernels
    )
