"""Two ways to spend less on reads: records in fewer bits, and neighbours that fire together.

Records are those of neurons in E0M4: rows of gate, up and down as codes of 4 bits, and for each
group of 32 a scale (float16) and a zero point (a byte).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_passes.weights import e0m4
from opencl_kernels.formats import Array, Quantized
from toolkit.offload.coalesce import coalesce
from toolkit.offload.flash_model import Flash
from toolkit.offload.policies import Ints

GROUP, STATE = 32, 4  # of codes; bytes of an ANS decoder's state, which each record begins with
MAX_READ, CLUSTER = 512 << 10, 64
LONG_S = 0.2  # of decoding, that a rate is measured by
Codec = tuple[Callable[[bytes], bytes], Callable[[bytes, int], bytes]]


def entropy(values: Array) -> float:
    """Bits a value, of order 0."""
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def record_bytes(parts: Sequence[Quantized]) -> Array:
    """uint8 [F, bytes]: of each neuron codes of all parts, then scales, then zero points."""
    nibbles = [each.codes_NK for each in parts]
    codes = [each[:, ::2] | each[:, 1::2] << 4 for each in nibbles]
    scales = [np.ascontiguousarray(each.scale_NG, np.float16).view(np.uint8) for each in parts]
    zeros = [each.zero_NG for each in parts if each.zero_NG is not None]
    return np.concatenate([*codes, *scales, *zeros], axis=1)


@dataclass(frozen=True)
class Squeezed:
    """What is left of records, by scheme a share of their bytes; and rates in bytes a second.

    code_bits, scale_bits  entropy of a code of 4 bits and of a scale of 16
    zeros                  share of weights that are exactly 0
    bound                  all entropies together; `ans`: with a state in each record
    """

    size: int
    code_bits: float
    scale_bits: float
    zeros: float
    bound: float
    ans: float
    left: dict[str, tuple[float, float, float]]  # whole table, record by record, decode rate


def squeezed(networks: Sequence[Sequence[Array]]) -> Squeezed:
    """Of networks, each with matrices [F, D] whose rows a neuron is."""
    coded = [[e0m4.quantize(matrix, GROUP) for matrix in each] for each in networks]
    every = [part for parts in coded for part in parts]
    codes = np.concatenate([each.codes_NK.reshape(-1) for each in every])
    scales = np.concatenate([each.scale_NG.reshape(-1) for each in every]).astype(np.float16)
    zeros = np.concatenate([_zeros(each).reshape(-1) for each in every])
    exact = np.concatenate([(each.codes_NK == _wide(each)).reshape(-1) for each in every])
    bits = codes.size * entropy(codes) + scales.size * (entropy(scales) + entropy(zeros))
    tables = [record_bytes(parts) for parts in coded]
    records, whole = sum(len(each) for each in tables), sum(each.size for each in tables)
    left = {name: _left(tables, *codec) for name, codec in codecs().items()}
    return Squeezed(
        tables[0].shape[1],
        entropy(codes),
        entropy(scales),
        float(exact.mean()),
        bits / 8 / whole,
        (bits / 8 + records * STATE) / whole,
        left,
    )


def _zeros(part: Quantized) -> Array:
    assert part.zero_NG is not None
    return part.zero_NG


def _wide(part: Quantized) -> Array:
    return np.repeat(_zeros(part), part.group, axis=1)[:, : part.codes_NK.shape[1]]


def _left(
    tables: Sequence[Array], pack: Callable[[bytes], bytes], unpack: Callable[[bytes, int], bytes]
) -> tuple[float, float, float]:
    whole = b"".join(each.tobytes() for each in tables)
    packed = pack(whole)
    alone = sum(len(pack(record.tobytes())) for each in tables for record in each)
    assert unpack(packed, len(whole)) == whole
    begun, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < LONG_S:
        unpack(packed, len(whole))
        done += 1
    return len(packed) / len(whole), alone / len(whole), done * len(whole) / spent


def codecs() -> dict[str, Codec]:
    """zlib, and zstd where the machine has its library."""
    found: dict[str, Codec] = {"zlib": (lambda data: zlib.compress(data, 9), _inflate)}
    if name := ctypes.util.find_library("zstd"):
        found["zstd"] = _zstd(ctypes.CDLL(name))
    return found


def _inflate(data: bytes, size: int) -> bytes:
    return zlib.decompress(data, bufsize=size)


def _zstd(library: ctypes.CDLL) -> Codec:
    for function in (library.ZSTD_compress, library.ZSTD_decompress, library.ZSTD_compressBound):
        function.restype = ctypes.c_size_t
    sizes = ctypes.c_size_t

    def pack(data: bytes) -> bytes:
        room = library.ZSTD_compressBound(sizes(len(data)))
        out = ctypes.create_string_buffer(room)
        count = library.ZSTD_compress(out, sizes(room), data, sizes(len(data)), 19)
        return out.raw[:count]

    def unpack(data: bytes, size: int) -> bytes:
        out = ctypes.create_string_buffer(size)
        library.ZSTD_decompress(out, sizes(size), data, sizes(len(data)))
        return out.raw

    return pack, unpack


@dataclass(frozen=True)
class Reads:
    """Of a token, means; `seconds` on an imitated flash."""

    reads: float
    bytes: float
    seconds: float


def frequency_order(active_TF: Array) -> Ints:
    """Neurons, the most frequent first."""
    return np.argsort(-active_TF.mean(axis=0), kind="stable")


def together_order(active_TF: Array, resident: int) -> Ints:
    """The most frequent neurons first; the others each behind the one that it fires with most.

    The likeness of two is that of their sets of tokens, common ones per joint ones: counts alone
    would make what fires often everybody's friend.
    """
    order = frequency_order(active_TF)
    alike = likeness(active_TF)
    chain, left = [int(order[resident])], set(order[resident + 1 :].tolist())
    while left:
        rest = np.array(sorted(left))
        chain.append(int(rest[np.argmax(alike[chain[-1], rest])]))
        left.remove(chain[-1])
    return np.concatenate([order[:resident], np.array(chain, np.int64)])


def likeness(active_TF: Array) -> Array:
    """Float64 [F, F]: tokens in which both of two fire, per token in which one of them does."""
    ones = active_TF.astype(np.float64)
    both, each = ones.T @ ones, ones.sum(axis=0)
    found = both / np.maximum(1, each[:, None] + each[None] - both)
    np.fill_diagonal(found, -1)
    return np.asarray(found)


def reads_in_order(
    active_TF: Array, order: Ints, resident: int, size: int, stride: int, flash: Flash
) -> Reads:
    """Records lie in this order, and the first ones in memory."""
    place = np.argsort(order)
    starts = (np.sort(place[np.flatnonzero(row)]) for row in active_TF)
    return _mean(((each[each >= resident] * stride, size) for each in starts), flash)


def reads_of_pairs(
    active_TF: Array, friends: Ints, order: Ints, resident: int, size: int, flash: Flash
) -> Reads:
    """Each record is stored with a copy of its friend's, which then needs no read of its own."""
    return _mean(_pairs(active_TF, friends, order, resident, 2 * size), flash)


def _pairs(
    active_TF: Array, friends: Ints, order: Ints, resident: int, size: int
) -> Iterator[tuple[Ints, int]]:
    for row in active_TF:
        wanted, here, asked = set(np.flatnonzero(row).tolist()), set[int](), list[int]()
        for at in range(resident, len(order)):
            neuron = int(order[at])
            if neuron in wanted and neuron not in here:
                asked.append(at)
                here |= {neuron, int(friends[neuron])}
        yield np.array(asked, np.int64) * size, size


def _mean(tokens: Iterator[tuple[Ints, int]], flash: Flash) -> Reads:
    found = [coalesce(starts, size, flash.gap, MAX_READ, CLUSTER) for starts, size in tokens]
    sums = [(len(r.spans), r.bytes, float(flash.seconds(r.spans[:, 1]).sum())) for r in found]
    return Reads(*np.mean(sums, axis=0).tolist())
