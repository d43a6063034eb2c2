"""Plans with networks in flash: what the records hold, and what is computed of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flash_networks import KINDS, F, made
from needed import here
from pass_helpers import SHARED

import toolkit
from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.ir.facts import Mask
from onnx_passes.ir.graph import needed
from onnx_passes.weights import e0m4
from opencl_kernels.formats import Array
from opencl_kernels.layouts import F16, quantized
from opencl_kernels.matmul.epilogue import ended
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.records import packing
from opencl_kernels.records.record import Record
from toolkit.compiler import pipeline
from toolkit.compiler.lowering.records.endings import tile_ending
from toolkit.compiler.rewriting import passes
from toolkit.compiler.rewriting.passes import rewritten_for
from toolkit.compiler.source import load_source
from toolkit.evaluation.verify import verify
from toolkit.plan.load import load_plan
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Plan, Table

TRAINED = {"silu": "75%", "relu": "90%"}  # what their networks leave room for


def networks(model: Path, plan: Plan) -> list[Ffn]:
    """Of the graph that the plan was lowered from."""
    found, _ = find_ffns(rewritten_for(load_source(model), plan))
    return found


def records_of(folder: Path, plan: Plan, table: Table) -> list[Array]:
    """The numbers [count, length] of each part, as the file has them."""
    part = table.parts[0]
    stored = (
        F16
        if part.dtype == "f16"
        else quantized("e0m4", part.group, "f16", "u8" if part.zero else "")
    )
    record = Record(len(table.parts), part.length, stored)
    raw = np.fromfile(folder / plan.files[table.file].path, np.uint8)
    apart = raw[table.offset :][: table.count * table.stride].reshape(table.count, table.stride)
    assert not apart[:, table.bytes :].any()
    return packing.values(record, np.ascontiguousarray(apart[:, : table.bytes]).view(np.uint32))


@pytest.mark.parametrize("kind", KINDS)
def test_gathers_compute_what_the_graph_does(tmp_path: Path, kind: str) -> None:
    done = made(tmp_path, kind)
    report = verify(done.path, on="host")
    assert report["ok"], report
    assert all(case["nmse"] < 1e-9 for case in report["cases"]), report


def assert_records(folder: Path, ffn: Ffn, plan: Plan, table: Table) -> None:
    """The records are the weights of the graph."""
    assert table.count == ffn.width and len(plan.files[table.file].sha256) == 64
    for part, found in zip(table.parts, records_of(folder, plan, table), strict=True):
        columns = {"gate": ffn.gate, "up": ffn.up}.get(part.name)
        weight = needed(ffn.down, 1) if columns is None else columns.weight
        assert weight.const_value is not None
        expected = weight.const_value.numpy()
        if columns is not None:
            expected = expected[:, columns.first : columns.first + ffn.width].T
        if part.dtype == "f16":
            expected = expected.astype(np.float16)
        np.testing.assert_array_equal(found.astype(expected.dtype), expected)


@pytest.mark.parametrize("kind", ["swiglu", "reglu", "no gate"])
def test_records_hold_the_graphs_weights(tmp_path: Path, kind: str) -> None:
    plan = load_plan(made(tmp_path, kind).path)
    (ffn,), (table,) = networks(tmp_path / "model.onnx", plan), plan.tables
    assert_records(tmp_path / "m.plan", ffn, plan, table)
    kept = sum(weight.bytes for weight in plan.weights)
    gates = F * 32 * 2 * (kind == "reglu")
    assert kept < gates + F * 32 * 2  # the others have twice as many bytes, or three times


@pytest.mark.parametrize("act", ["relu", pytest.param("silu", marks=pytest.mark.slow)])
def test_trained_models_in_codes(tmp_path: Path, act: str) -> None:
    """Rows keep the codes of the resident quantiser, columns have some of their own."""
    path = here(SHARED / f"real/trained-llama_{act}-onnx-optimum")
    sizes = {"max_context": 64, "prefill_chunk": 32, "group": 16, "memory": TRAINED[act]}
    done = toolkit.compile(path, tmp_path / "m.plan", weights="e0m4", **sizes)
    plan = load_plan(done.path)
    assert len(plan.tables) == 4 and done.figures["requantized"] == []
    last = networks(path, plan)[-1]
    assert_records(done.path, last, plan, plan.tables[-1])
    report = verify(done.path, on="host")
    assert report["ok"] and all(case["nmse"] < 1e-8 for case in report["cases"]), report


def test_a_relu_gate_selects_and_others_need_all(tmp_path: Path) -> None:
    for kind, selector, by, threshold, policy, names in (
        ("reglu", "gate", "above", 0.0, "lfu", ("up", "down")),
        ("fatrelu", "gate", "above", 0.5, "lfu", ("up", "down")),
        ("drelu", "gate", "above", 0.0, "lfu", ("up", "down")),
        ("swiglu", "all", "all", 0.0, "static", ("gate", "up", "down")),
        ("gated by erf", "all", "all", 0.0, "static", ("gate", "up", "down")),
        ("no gate", "all", "all", 0.0, "static", ("up", "down")),
    ):
        (tmp_path / kind).mkdir()
        done = made(tmp_path / kind, kind)
        assert done.figures["selector"] == selector
        prefill, decode, score = done.plan.phases
        (gather,), (point,) = decode.gathers(), done.plan.points
        assert (gather.select.by, gather.select.threshold) == (by, threshold)
        assert (gather.parts, gather.tile, point.select[1]) == (names, 0, threshold)
        assert [g.select.by for g in (*prefill.gathers(), *score.gathers())] == ["all", "all"]
        assert decode.recordable and point.policy == policy
        assert point.pinned == ((0,) if by == "above" else point.slots)


@pytest.mark.parametrize("first", ["gate", "up"])
def test_scores_come_before_whichever_product_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    changes, constants = KINDS["drelu"]
    ((old, unit),) = changes
    gate, up = "gate = MatMul(y, wg)", "up = MatMul(y, wu)"
    swapped = unit.replace(f"{gate} {up}", f"{up} {gate}") if first == "up" else unit
    assert (swapped != unit) == (first == "up")
    monkeypatch.setitem(KINDS, "drelu", (((old, swapped),), constants))
    monkeypatch.setattr(passes, "masks_of", lambda *_: ())  # of the plan in memory none
    monkeypatch.setattr(pipeline, "masks_of", lambda *_: (some_mask(),))
    done = made(tmp_path, "drelu")
    decode = done.plan.phase("decode")
    assert decode and done.figures["selector"] == "lowrank"
    assert [g.select.threshold for g in decode.gathers()] == [0.25]


def some_mask() -> Mask:
    rng = np.random.default_rng(5)
    A = e0m4.quantize(rng.standard_normal((16, 32)).astype(np.float32), 32)
    B = e0m4.quantize(rng.standard_normal((F, 16)).astype(np.float32), 16)
    return Mask(A, B, rng.standard_normal(F).astype(np.float32), 0.25)


@pytest.mark.parametrize("given", [False, True])
def test_a_column_without_a_record_is_0(given: bool) -> None:
    """Though what index 0 has be infinite in halves."""
    tile, width, rows = 16, 20, 3
    side = SimpleNamespace(bias="b", first=0, width=width)
    ffn = SimpleNamespace(gate=side, up=side, act="Relu(v)", up_act="v", width=width)
    weights = SimpleNamespace(vector=lambda *_: ("weight", 0))
    b: Any = SimpleNamespace(weights=weights, elements=lambda _: rows * width)
    tabled: Any = SimpleNamespace(ffn=ffn)
    ending = tile_ending(b, tabled, tile, ("scratch", 0) if given else None)
    glu = None if given else Glu(tile, "relu")
    sizes = {"M": rows, "N": tile * (1 if given else 2), "K": 32, "x": "f16", "y": "f16"}
    case = Product(**sizes, w=F16, glu=glu, epilogue=ending.text, inputs=tuple(ending.inputs))
    indices = np.random.default_rng(0).permutation(np.arange(1, width))[:7]
    ticket = np.zeros(4 + 2 * tile, np.int32)
    ticket[0], ticket[5:19:2] = 7, indices
    bias = np.linspace(-2, 2, width, dtype=np.float32)
    bias[0] = 6e4
    gates = np.tile(bias, (rows, 1))
    known = {("ticket",): ticket, ("weight", 0): bias, ("scratch", 0): gates.reshape(-1)}
    inputs = {name: known[ref] for name, ref in ending.refs.items()}
    sums = np.random.default_rng(1).standard_normal((2, rows, tile)).astype(np.float32)
    found = ended(case, inputs, sums[0], None if given else sums[1])
    up = sums[0 if given else 1][:, :7] + bias[indices]
    gate = gates[:, indices] if given else sums[0][:, :7] + bias[indices]
    np.testing.assert_allclose(found[:, :7], np.maximum(gate, 0) * up, rtol=1e-5, atol=1e-6)
    assert not found[:, 7:].any()


def test_of_several_texts_nothing_is_selected(tmp_path: Path) -> None:
    done = made(tmp_path, "reglu", batch=2, memory="99.9%")
    gathers = [gather for phase in done.plan.phases for gather in phase.gathers()]
    assert {gather.select.by for gather in gathers} == {"all"}
    assert done.figures["selector"] == "all"


@pytest.mark.parametrize("chunk", [1, 2])
def test_single_tokens_run_the_phase_that_is_for_them(tmp_path: Path, chunk: int) -> None:
    """Also where prefill takes no more at a time: it reads all neurons."""
    phase = token_phase(made(tmp_path, "reglu", prefill_chunk=chunk).plan)
    assert phase and {gather.select.by for gather in phase.gathers()} == {"above"}
