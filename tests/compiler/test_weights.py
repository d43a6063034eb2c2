"""Weights on their way into a plan: stored once, split where large, read in bounded memory."""

import mmap
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from exports import DEMO

import toolkit
from opencl_kernels.formats import unpack_n16
from toolkit.compiler import pipeline
from toolkit.compiler.report import CompileReport
from toolkit.compiler.source import load_source, page_release
from toolkit.compiler.weights.table import WeightTable
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify


def value_of(array: np.ndarray, name: str = "w") -> ir.Value:
    return ir.val(name, ir.DataType.FLOAT, array.shape, const_value=ir.tensor(array))


def packed(table: WeightTable, index: int) -> np.ndarray:
    return np.concatenate([piece.reshape(-1) for piece in table.sources[index].produce()])


@pytest.mark.parametrize(("N", "K"), [(1, 1), (7, 63), (65, 33), (48, 16)])
def test_a_matrix_arrives_in_n16(N: int, K: int) -> None:
    array = np.random.default_rng(0).standard_normal((K, N), np.float32)
    table = WeightTable(None)
    (rows,) = table.matrix(value_of(array), transposed=True)
    assert (rows.first, rows.count) == (0, N)
    np.testing.assert_array_equal(unpack_n16(packed(table, 0), N, K), array.T)


def test_a_vector_that_readers_check_differently_is_stored_once() -> None:
    """An infinity is refused as soon as one of them takes none, whoever came first."""
    for order in ((True, False), (False, True), (True,)):
        table, value = WeightTable(None), value_of(np.array([1, -np.inf], np.float32))
        refs = {table.vector(value, infinite=infinite) for infinite in order}
        assert len(refs) == len(table.sources) == 1
        if order == (True,):
            np.testing.assert_array_equal(packed(table, 0), [1, -np.inf])
            continue
        with pytest.raises(PocketError, match="can't be stored"):
            packed(table, 0)


def test_equal_matrices_are_stored_once_in_either_orientation() -> None:
    array = np.random.default_rng(0).standard_normal((65, 33), np.float32)
    near = array.copy()
    near[-1, -1] += 1  # the same corner, another matrix
    table = WeightTable(None)
    first = table.matrix(value_of(array), transposed=False)
    assert table.matrix(value_of(array.T.copy()), transposed=True) == first
    assert table.matrix(value_of(near), transposed=False) != first
    assert len(table.sources) == 2


def test_a_large_matrix_is_split_by_rows() -> None:
    array = np.random.default_rng(0).standard_normal((100, 64), np.float32)
    table = WeightTable("f16", shard_bytes=32 * 64 * 2)
    slices = table.matrix(value_of(array), transposed=False)
    assert [(p.first, p.count) for p in slices] == [(0, 32), (32, 32), (64, 32), (96, 4)]
    rows = [unpack_n16(packed(table, i), p.count, 64) for i, p in enumerate(slices)]
    np.testing.assert_array_equal(np.concatenate(rows), array.astype(np.float16))


@pytest.mark.parametrize("shard_bytes", [2**20, 4 * 64 * 4, 4])
@pytest.mark.parametrize("gated", [False, True])
def test_matrices_of_experts_are_padded_each(gated: bool, shard_bytes: int) -> None:
    """To whole strips; slices are of whole experts."""
    E, N, K, high = 5, 38, 9, 64
    array = np.random.default_rng(0).standard_normal((E, N, K), np.float32)
    table = WeightTable(None, shard_bytes=shard_bytes)
    slices = table.experts(value_of(array.reshape(E * N, K).T.copy()), E, gated)
    assert all(piece.first % high == 0 == piece.count % high for piece in slices)
    assert sum(piece.count for piece in slices) == E * high
    rows = [unpack_n16(packed(table, i), p.count, K) for i, p in enumerate(slices)]
    found = np.concatenate(rows).reshape(E, high, K)
    if not gated:
        np.testing.assert_array_equal(found[:, :N], array)
        assert not found[:, N:].any()
        return
    pairs = found.reshape(E, -1, 2, 16, K).transpose(0, 2, 1, 3, 4).reshape(E, 2, -1, K)
    np.testing.assert_array_equal(pairs[:, :, : N // 2], array.reshape(E, 2, N // 2, K))
    assert not pairs[:, :, N // 2 :].any()


@pytest.mark.parametrize("on", ["host", pytest.param("runner", marks=pytest.mark.slow)])
def test_a_model_of_split_weights_answers_the_same(
    on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedding, head and projections in slices of 256 KiB: several dispatches for one op."""

    def small(storage: str | None, *rest: object) -> WeightTable:
        return WeightTable(storage, shard_bytes=256 << 10)

    monkeypatch.setattr(pipeline, "WeightTable", small)
    report: CompileReport = toolkit.compile(DEMO, tmp_path / "split.plan")
    assert max(w.bytes for w in report.plan.weights if "up" not in w.name) <= 256 << 10
    assert verify(report.path, on=on)["ok"]


def test_pages_of_external_data_are_given_back(tmp_path: Path) -> None:
    model = load_source(DEMO).model
    ir.save(model, tmp_path / "model.onnx", external_data="model.onnx.data")
    again = load_source(tmp_path / "model.onnx").model
    release = page_release(again)
    tensors = [v.const_value for v in again.graph.initializers.values()]
    outside = [t for t in tensors if isinstance(t, ir.ExternalTensor)]
    before = [t.numpy().copy() for t in outside]
    release()
    assert outside and all(isinstance(t.raw, mmap.mmap) for t in outside)
    for tensor, array in zip(outside, before, strict=True):  # still readable, from the file
        np.testing.assert_array_equal(tensor.numpy(), array)
