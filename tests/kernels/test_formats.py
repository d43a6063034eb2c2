"""The layout n16, words of codes, and the names of element types."""

from __future__ import annotations

import numpy as np
import pytest

from opencl_kernels import formats
from opencl_kernels.formats import (
    GROUPS,
    Quantized,
    interleave_gate_up,
    pack_codes,
    pack_groups,
    pack_n16,
    unpack_codes,
    unpack_n16,
)

# Appendix A of the paper's reconstruction: what the 16 codes read as in the mantissa of 1.0.
E0M4 = (1, 1.0625, 1.125, 1.1875, 1.25, 1.3125, 1.375, 1.4375,
        1.5, 1.5625, 1.625, 1.6875, 1.75, 1.8125, 1.875, 1.9375)  # fmt: skip


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


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("seed", range(12))
def test_codes_come_back_whatever_the_sizes(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    N, K = (int(n) for n in rng.integers(1, 140, 2))
    group = int(rng.choice(GROUPS))
    codes = rng.integers(0, 2**bits, (N, K), np.uint8)
    words = pack_codes(codes, bits, group)
    assert words.dtype == np.uint32
    assert words.shape == (-(-N // 32), -(-K // group) * group * bits // 32, 32)
    assert np.array_equal(unpack_codes(words, bits, N, K), codes)
    scales = rng.standard_normal((N, -(-K // group))).astype(np.float16)
    assert np.array_equal(unpack_n16(pack_groups(scales), *scales.shape, 32), scales)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_rotation_brings_each_code_to_the_top_of_the_mantissa(bits: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, (1, 32 // bits), np.uint8)
    word = int(pack_codes(codes, bits, 16)[0, 0, 0])
    for j, code in enumerate(codes[0]):
        turned = (word << j * bits | word >> 32 - j * bits) if j else word
        mantissa = turned & (2**bits - 1) << 23 - bits
        read = np.array(0x3F800000 | mantissa, np.uint32).view(np.float32)
        assert read == 1 + code / 2**bits


def test_the_sixteen_codes_are_those_of_e0m4_in_both_float_types() -> None:
    for code, value in enumerate(E0M4):
        assert np.array(0x3C00 | code << 6, np.uint16).view(np.float16) == value
        assert np.array(0x3F800000 | code << 19, np.uint32).view(np.float32) == value


def test_values_of_codes_follow_scale_and_zero() -> None:
    codes = np.array([[0, 7, 15, 1, 8]], np.uint8)
    scale = np.array([[0.5, 2.0]], np.float16)
    zero = np.array([[7, 0]], np.uint8)
    assert Quantized(codes, scale, zero, 4, 3).values().tolist() == [[-3.5, 0, 4, 2, 16]]
    assert Quantized(codes, scale, None, 4, 3).values().tolist() == [[-4, -0.5, 3.5, -14, 0]]


def test_sizes_of_types() -> None:
    for name, size in (("f32", 4), ("f16", 2), ("i32", 4), ("i64", 8), ("u32", 4), ("u8", 1)):
        assert formats.dtype_bytes(name) == size
        assert formats.numpy_dtype(name).itemsize == size


def test_errors_carry_three_facts() -> None:
    with pytest.raises(formats.FormatError, match="cannot pack") as caught:
        pack_n16(np.zeros(3))
    assert caught.value.because and caught.value.hint
    with pytest.raises(ValueError, match="cannot interleave"):
        interleave_gate_up(np.zeros((2, 3)), np.zeros((3, 3)))
