"""The layout n16 and the names of element types."""

from __future__ import annotations

import numpy as np
import pytest

from opencl_kernels import formats
from opencl_kernels.formats import interleave_gate_up, pack_n16, unpack_n16


@pytest.mark.parametrize("shape", [(1, 1), (16, 5), (17, 3), (63, 7)])
def test_n16_holds_every_element_where_it_says(shape: tuple[int, int]) -> None:
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
    packed = pack_n16(weight)
    flat, columns = packed.reshape(-1), shape[1]
    assert packed.shape == (-(-shape[0] // 16), columns, 16)
    assert packed.dtype == weight.dtype
    for n, k in np.ndindex(*shape):
        assert flat[((n // 16) * columns + k) * 16 + n % 16] == weight[n, k]
    assert np.array_equal(unpack_n16(packed, *shape), weight)
    assert np.count_nonzero(packed) == np.count_nonzero(weight), "padding must be zero"


def test_gate_and_up_alternate_in_blocks_of_16_rows() -> None:
    gate, up = np.arange(1, 61).reshape(20, 3), -np.arange(1, 61).reshape(20, 3)
    pair = interleave_gate_up(gate, up)
    assert pair.shape == (64, 3)
    assert np.array_equal(pair[:16], gate[:16]) and np.array_equal(pair[16:32], up[:16])
    assert np.array_equal(pair[32:36], gate[16:]) and np.array_equal(pair[48:52], up[16:])
    assert not pair[36:48].any() and not pair[52:].any()


def test_dtype_names_and_sizes() -> None:
    for name, size in (("f32", 4), ("f16", 2), ("i32", 4), ("i64", 8), ("u8", 1)):
        assert formats.dtype_bytes(name) == size
        assert formats.dtype_name(formats.numpy_dtype(name)) == name


def test_errors_carry_three_facts() -> None:
    with pytest.raises(ValueError, match="no storage type for complex64") as caught:
        formats.dtype_name(np.complex64)
    assert caught.value.because and caught.value.hint  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="cannot pack"):
        pack_n16(np.zeros(3))
    with pytest.raises(ValueError, match="cannot interleave"):
        interleave_gate_up(np.zeros((2, 3)), np.zeros((3, 3)))
