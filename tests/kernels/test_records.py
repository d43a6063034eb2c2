"""Records: where each number lies, what tables of them take, and kernels over some of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from launches import nmse

from opencl_kernels import KERNELS, family_of
from opencl_kernels.case import At
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import BIT_POSITIONS, Array, FormatError, Quantized
from opencl_kernels.launch import launch
from opencl_kernels.layouts import F16, F32, Stored, quantized
from opencl_kernels.records.gathered import ticket_of
from opencl_kernels.records.neurons import Neurons
from opencl_kernels.records.packing import pack, random, unpack, values
from opencl_kernels.records.products import RecordColumns, RecordRows
from opencl_kernels.records.record import KINDS, Record
from opencl_kernels.tuned import default_knobs

E0M4, SYMMETRIC = quantized("e0m4", 32, "f16", "u8"), quantized("e0m4", 32, "f16")
FLOATS_AND_BYTES = (F32, quantized("q8", 32, "f32"), quantized("q8", 16, "f32", "f32"))
STORED = (
    *FLOATS_AND_BYTES,
    *(quantized("e0m4", group, "f16", zero) for group in (16, 32, 256) for zero in ("", "u8")),
    F16,
)


@pytest.mark.parametrize("length", [1, 7, 63, 65, 513])
@pytest.mark.parametrize("stored", STORED, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_records_come_back(kind: str, stored: Stored, length: int) -> None:
    record = Record(len(KINDS[kind].parts), length, stored)
    packed = random(record, 5, np.random.default_rng(length))
    assert packed.shape == (5, record.nbytes // 4) and packed.dtype == np.uint32
    np.testing.assert_array_equal(pack(record, unpack(record, packed)), packed)


@pytest.mark.parametrize("stored", [E0M4, SYMMETRIC, quantized("e0m4", 64, "f16", "u8")], ids=str)
def test_codes_lie_eight_groups_abreast(stored: Stored) -> None:
    """Each element by its definition, in the second part of a record."""
    length, g = 8 * stored.group + 77, stored.group
    record = Record(2, length, stored)
    packed = random(record, 3, np.random.default_rng(0))
    raw = packed.view(np.uint8)[:, record.part_bytes :]
    codes = unpack(record, packed)[1]
    assert isinstance(codes, Quantized)
    padded = -(-length // (8 * g)) * 8 * g
    words, scales = raw[:, : padded // 2], raw[:, padded // 2 :][:, : 2 * padded // g]
    for e in range(length):
        block, within = divmod(e, 8 * g)
        word = words.view(np.uint32)[:, block * g + within % g // 8 * 8 + within // g]
        turned = (
            word >> BIT_POSITIONS[4][e % 8]
            | word.astype(np.uint64) << 32 >> (BIT_POSITIONS[4][e % 8])
        )
        np.testing.assert_array_equal(turned & 15, codes.codes_NK[:, e])
    groups = codes.scale_NG.shape[1]
    np.testing.assert_array_equal(scales.copy().view(np.float16)[:, :groups], codes.scale_NG)
    if codes.zero_NG is not None:
        zeros = raw[:, padded // 2 + 2 * padded // g :][:, :groups]
        np.testing.assert_array_equal(zeros, codes.zero_NG)


@pytest.mark.parametrize(
    ("kind", "stored", "length", "nbytes", "stride"),
    [
        ("neuron", E0M4, 4096, 7296, 8192),
        ("neuron", E0M4, 2048, 3648, 4096),
        ("neuron", SYMMETRIC, 4096, 6912, 8192),
        ("neuron", E0M4, 3072, 5504, 5504),  # Phi-3 mini: a page more would waste more than half
        ("neuron", F16, 2048, 12288, 12288),
        ("neuron without gate", E0M4, 4096, 4864, 4864),
        ("neuron without gate", E0M4, 2048, 2432, 4096),
        ("neuron without gate", F16, 2048, 8192, 8192),
        ("channel", E0M4, 11008, 13120, 13120),
        ("channel", E0M4, 14336, 17024, 17024),
        ("channel", E0M4, 5632, 6720, 6720),
        ("channel", F16, 5632, 22528, 22528),
        ("down", E0M4, 4096, 2432, 2432),
        ("down", E0M4, 2048, 1216, 1216),
        ("down", F16, 2048, 4096, 4096),
        ("row", E0M4, 4096, 2432, 4096),
        ("row", E0M4, 2048, 1216, 1216),
    ],
)
def test_sizes_of_models(kind: str, stored: Stored, length: int, nbytes: int, stride: int) -> None:
    record = Record(len(KINDS[kind].parts), length, stored)
    assert (record.nbytes, record.stride(kind)) == (nbytes, stride)


@pytest.mark.parametrize("stored", [quantized("q8", 32, "f16"), quantized("e0m4", 32, "f32"),
                                    quantized("e0m4", 32, "f16", "f16")], ids=str)  # fmt: skip
def test_what_no_kernel_reads_is_no_record(stored: Stored) -> None:
    with pytest.raises(ValueError, match="no record"):
        Record(1, 5, stored)


def test_numbers_of_another_kind_are_refused() -> None:
    codes = unpack(Record(1, 65, E0M4), random(Record(1, 65, E0M4), 2, np.random.default_rng(0)))
    for stored in (F16, SYMMETRIC, quantized("e0m4", 16, "f16", "u8")):
        with pytest.raises(FormatError, match="quantise it along"):
            pack(Record(1, 65, stored), codes)
    with pytest.raises(FormatError, match="2 parts"):
        pack(Record(3, 65, E0M4), codes * 2)


SIZES: dict[str, Any] = {"D": 77, "S": 40, "T": 24, "F": 50}
ROWS_OF_X: dict[str, Any] = {"M": 2, "at": At(seq=2)}
SUMS = {
    "neurons": Neurons(PARTS=3, w=E0M4, G=3, act="Relu(v)", up_bias=True, **SIZES, **ROWS_OF_X),
    "columns": RecordColumns(PARTS=2, w=E0M4, G=2, **SIZES, **ROWS_OF_X),
}
ROWS = RecordRows(PARTS=3, w=E0M4, **SIZES, **ROWS_OF_X)


def sums() -> Iterator[Any]:
    for name, case in SUMS.items():
        for kernel in family_of(name).kernels:
            yield pytest.param(kernel.name, case, id=kernel.name)


def run(queue: Any, name: str, inputs: dict[str, Array], case: Any) -> Array:
    """The last argument of a kernel."""
    kernel = KERNELS[name]
    outputs, _ = launch(
        queue, family_of(name), kernel, inputs, case, default_knobs(kernel, kernel.classes[0])
    )
    return list(outputs.values())[-1]


def inputs_of(name: str, case: Any, seed: int = 0) -> dict[str, Array]:
    return random_inputs(family_of(name), case, np.random.default_rng(seed))


@pytest.mark.parametrize(("name", "case"), list(sums()))
@pytest.mark.parametrize("sizes", [(17, 7), (1, 0, 23), (0,), (3, 4, 5)])
def test_clusters_add_up_to_the_whole(
    queue: Any, name: str, case: Any, sizes: tuple[int, ...]
) -> None:
    """Of any sizes, none among them; the first begins, whatever memory held."""
    inputs = inputs_of(name, case)
    last = family_of(name).arguments(case)[-1].name
    chosen = np.random.default_rng(1).permutation(40)[: sum(sizes)], np.arange(sum(sizes))[::-1]
    expected = (
        family_of(name)
        .reference(inputs | {"ticket": ticket_of(*chosen, most=24, begins=True)}, case)[last]
        .sum(axis=0)
    )
    found = np.full_like(inputs[last], np.nan)
    first = 0
    for size in sizes:
        slots, indices = (each[first : first + size] for each in chosen)
        ticket = ticket_of(slots, indices, 24, begins=first == 0)
        found = run(queue, name, inputs | {"ticket": ticket, last: found}, case)
        first += size
    assert nmse(found.sum(axis=0), expected) < 1e-10


@pytest.mark.parametrize("name", ["record_rows", "record_rows_cpu"])
@pytest.mark.parametrize("count", [0, 1, 5, 24])
def test_rows_of_other_indices_stay(queue: Any, name: str, count: int) -> None:
    inputs = inputs_of(name, ROWS)
    indices = np.random.default_rng(2).permutation(50)[:count]
    ticket = ticket_of(np.arange(count), indices, 24, begins=False)
    found = run(queue, name, inputs | {"ticket": ticket}, ROWS)
    others = np.setdiff1d(np.arange(50), indices)
    np.testing.assert_array_equal(found[:, others], inputs["v"][:, others])
    gates = inputs["x"] @ values(ROWS.record, inputs["slots"][:count])[0].T
    assert nmse(found[:, indices], gates) < 1e-10


@pytest.mark.parametrize("name", ["neurons", "neurons_cpu"])
def test_gates_that_are_rows_of_records_are_the_neurons_gates(queue: Any, name: str) -> None:
    """Two-phase reading: `record_rows`, then neurons whose gate is given."""
    case = SUMS["neurons"]
    inputs = inputs_of(name, case) | {"part": np.zeros((3, 2, 77), np.float32)}
    suffix = name.removeprefix("neurons")
    gates = run(queue, f"record_rows{suffix}", inputs_of("record_rows", ROWS) | {
        each: inputs[each] for each in ("ticket", "slots", "x")
    }, ROWS)  # fmt: skip
    given = run(queue, name, inputs | {"v": gates}, replace(case, gate="given"))
    assert nmse(given, run(queue, name, inputs, case)) < 1e-10


@pytest.mark.parametrize(("name", "case"), list(sums()))
def test_what_is_no_number_stays_none(queue: Any, name: str, case: Any) -> None:
    inputs = inputs_of(name, case)
    used = inputs["ticket"][5]  # the index of the first record
    if "c" in inputs:
        inputs["c"][1, used] = np.nan
    else:
        inputs["x"][1, 70] = np.nan
    found = run(queue, name, inputs, case)
    assert np.isnan(found[0, 1]).all() and np.isfinite(found[:, 0]).all()


@pytest.mark.parametrize("name", ["neurons", "neurons_cpu"])
def test_neurons_whose_gates_are_zero_count_nothing(queue: Any, name: str) -> None:
    """All gates are below a bias: sums begin at 0, and go on as they were."""
    case = replace(SUMS["neurons"], gate_bias=True)
    inputs = inputs_of(name, case) | {"bg": np.full(50, -1e6, np.float32)}
    for begins in (False, True):
        inputs["ticket"][1] = begins
        found = run(queue, name, inputs, case)
        np.testing.assert_array_equal(found, 0 if begins else inputs["part"])
