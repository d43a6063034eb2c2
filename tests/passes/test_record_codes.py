"""Codes along records: those of the resident quantiser, kept where groups coincide."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_passes.weights.e0m4 import quantize
from onnx_passes.weights.record_codes import along_records
from opencl_kernels.formats import Array, Quantized
from opencl_kernels.layouts import quantized
from opencl_kernels.records.packing import pack, unpack
from opencl_kernels.records.record import Record


def weight(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_same(found: Quantized, expected: Quantized) -> None:
    assert (found.bits, found.group) == (expected.bits, expected.group)
    np.testing.assert_array_equal(found.codes_NK, expected.codes_NK)
    np.testing.assert_array_equal(found.scale_NG, expected.scale_NG)
    np.testing.assert_equal(found.zero_NG, expected.zero_NG)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group", [16, 32, 64, 128, 256])
def test_a_neuron_holds_what_the_quantiser_makes(group: int, symmetric: bool) -> None:
    """Rows of gate and up as a resident weight has them, columns of down along themselves."""
    D, F = 65 + group, 7
    gate, up, down = weight(1, F, D), weight(2, F, D), weight(3, D, F)
    importance = np.abs(weight(4, D))
    resident = [quantize(each, group, importance, symmetric) for each in (gate, up)]
    kept = [along_records(each, group, symmetric) for each in resident]
    made = along_records(down, group, symmetric, columns=True)
    assert [anew for _, anew in (*kept, made)] == [False, False, False]

    record = Record(3, D, quantized("e0m4", group, "f16", "" if symmetric else "u8"))
    parts = [codes for codes, _ in (*kept, made)]
    expected = [*resident, quantize(down.T, group, symmetric=symmetric)]
    for found, each in zip(unpack(record, pack(record, parts)), expected, strict=True):
        assert isinstance(found, Quantized)
        assert_same(found, each)


def test_floats_are_quantised_with_their_importance() -> None:
    w_NK, importance = weight(0, 5, 63), np.abs(weight(1, 63))
    found, anew = along_records(w_NK, 32, importance=importance)
    assert not anew
    assert_same(found, quantize(w_NK, 32, importance))


@pytest.mark.parametrize("K", [7, 63, 65, 129])
def test_wider_groups_are_shared_out(K: int) -> None:
    codes = quantize(weight(0, 5, K), 64)
    found, anew = along_records(codes, 16)
    assert not anew and found.group == 16 and found.scale_NG.shape == (5, -(-K // 16))
    np.testing.assert_array_equal(found.codes_NK, codes.codes_NK)
    np.testing.assert_array_equal(found.values(), codes.values())


def test_symmetric_codes_get_zero_points_where_records_have_them() -> None:
    codes = quantize(weight(0, 5, 65), 32, symmetric=True)
    found, anew = along_records(codes, 32)
    assert not anew and found.zero_NG is not None
    np.testing.assert_array_equal(found.values(), codes.values())


def test_scales_become_halves() -> None:
    codes = quantize(weight(0, 9, 65), 32)
    finer = codes.scale_NG.astype(np.float32) * np.float32(1.0002)
    wide = Quantized(codes.codes_NK, finer, codes.zero_NG, 4, 32)
    found, anew = along_records(wide, 32)
    assert not anew and found.scale_NG.dtype == np.float16
    np.testing.assert_array_equal(found.codes_NK, codes.codes_NK)
    np.testing.assert_allclose(found.values(), wide.values(), rtol=2**-11)


@pytest.mark.parametrize("name", ["narrower groups", "columns", "zero points", "tiny scales"])
def test_other_codes_are_made_anew_and_counted(name: str) -> None:
    codes = quantize(weight(0, 64, 65), 32)
    small = codes.scale_NG.astype(np.float32) * np.float32(1e-6)
    tiny = Quantized(codes.codes_NK, small, codes.zero_NG, 4, 32)
    given = tiny if name == "tiny scales" else codes
    group = 64 if name == "narrower groups" else 32
    columns, symmetric = name == "columns", name == "zero points"
    found, anew = along_records(given, group, symmetric, columns)
    assert anew
    decoded = given.values().T if columns else given.values()
    assert_same(found, quantize(decoded, group, symmetric=symmetric))
