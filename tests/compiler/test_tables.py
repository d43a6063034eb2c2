"""Plans with networks in flash: what the records hold, what is computed of them, the budget."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from changed_decoder import CONSTANTS, DOWN
from pass_helpers import SHARED, text
from tiny_decoder import decoder_text

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
from toolkit.compiler.pipeline import rewritten_for
from toolkit.compiler.report import CompileReport
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify
from toolkit.plan.load import load_plan
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Plan, Table

F = 700  # several tiles, and a rest
WIDE = tuple((f"float[{a}] {name}", f"float[{b}] {name}") for a, b, name in (
    ("32, 48", f"32, {F}", "wg"), ("32, 48", f"32, {F}", "wu"), ("48, 32", f"{F}, 32", "wd"),
))  # fmt: skip
GATED = (
    "gate = MatMul(y, wg)  up = MatMul(y, wu)  sg = Sigmoid(gate)  act = Mul(gate, sg)\n"
    "  mix = Mul(act, up)"
)
BIASED = "g0 = MatMul(y, wg) gate = Add(g0, bg) u0 = MatMul(y, wu) up = Add(u0, bu)"
RELU = "gate = MatMul(y, wg) up = MatMul(y, wu) act = Relu(gate) mix = Mul(act, up)"
KINDS: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "swiglu": ((), ""),
    "reglu": (((GATED, RELU),), ""),
    "biased reglu": (
        (
            (GATED, f"{BIASED} act = Relu(gate) mix = Mul(act, up)"),
            (DOWN, "d0 = MatMul(mix, wd) down = Add(d0, bd)"),
        ),
        f", float[{F}] bg, float[{F}] bu, float[32] bd",
    ),
    "biased swiglu": (
        ((GATED, f"{BIASED} sg = Sigmoid(gate) act = Mul(gate, sg) mix = Mul(act, up)"),),
        f", float[{F}] bg, float[{F}] bu",
    ),
    "fatrelu": (
        (
            (
                GATED,
                """gate = MatMul(y, wg) up = MatMul(y, wu) much = Greater(gate, tau)
          act = Where(much, gate, fzero) mix = Mul(act, up)""",
            ),
        ),
        ", float tau = {0.5}",
    ),
    "drelu": (
        (
            (
                GATED,
                """gate = MatMul(y, wg) up = MatMul(y, wu) act = Relu(gate) ru = Relu(up)
          mix = Mul(act, ru)""",
            ),
        ),
        "",
    ),
    "gated by erf": (
        (
            (
                GATED,
                """gate = MatMul(y, wg) up = MatMul(y, wu) e = Erf(gate) act = Mul(gate, e)
          mix = Mul(up, act)""",
            ),
        ),
        "",
    ),
    "no gate": (
        ((GATED, "u0 = MatMul(y, wu) up = Add(u0, bu) r = Relu(up) mix = Mul(r, r)"),),
        f", float[{F}] bu",
    ),
}
TRAINED = {"silu": "75%", "relu": "90%"}  # what their networks leave room for


def made(folder: Path, kind: str, **options: Any) -> CompileReport:
    """The tiny decoder with such a network, of weights that halves hold as they are."""
    changes, constants = KINDS[kind]
    source = decoder_text()
    for old, new in ((CONSTANTS, CONSTANTS + constants), *WIDE, *changes):
        assert old in source
        source = source.replace(old, new)
    model = text(source)
    for value in model.graph.initializers.values():
        if value.dtype == ir.DataType.FLOAT and value.const_value is not None:
            rounded = np.clip(value.const_value.numpy(), -6e4, 6e4).astype(np.float16)
            value.const_value = ir.tensor(rounded.astype(np.float32), name=value.name)
    ir.save(model, folder / "model.onnx")
    chosen = {"weights": "f16", "memory": "95%", "max_context": 32, "prefill_chunk": 8, **options}
    return toolkit.compile(folder / "model.onnx", folder / "m.plan", **chosen)


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
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["swiglu", "reglu", "no gate"])
def test_records_hold_the_graphs_weights(tmp_path: Path, kind: str) -> None:
    plan = load_plan(made(tmp_path, kind).path)
    (ffn,), (table,) = networks(tmp_path / "model.onnx", plan), plan.tables
    assert_records(tmp_path / "m.plan", ffn, plan, table)
    kept = sum(weight.bytes for weight in plan.weights)
    gates = F * 32 * 2 * (kind == "reglu")
    assert kept < gates + F * 32 * 2  # the others have twice as many bytes, or three times


@pytest.mark.parametrize("act", TRAINED)
def test_trained_models_in_codes(tmp_path: Path, act: str) -> None:
    """Rows keep the codes of the resident quantiser, columns have some of their own."""
    path = SHARED / f"real/trained-llama_{act}-onnx-optimum"
    if not path.exists():
        pytest.skip(f"{path} is not here")
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
        assert not decode.recordable and point.policy == policy
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
    masks = iter([(), (some_mask(),)])  # of the plan in memory none
    monkeypatch.setattr(pipeline, "masks_of", lambda *_: next(masks))
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
    done = made(tmp_path, "reglu", batch=2, memory="99%")
    gathers = [gather for phase in done.plan.phases for gather in phase.gathers()]
    assert {gather.select.by for gather in gathers} == {"all"}
    assert done.figures["selector"] == "all"


def test_a_plan_takes_its_budget_and_no_more(tmp_path: Path) -> None:
    plan = (done := made(tmp_path, "swiglu")).plan
    (table,), (point,) = plan.tables, plan.points
    figures = done.figures
    assert 0 < point.slots[0] < F and figures["slot_bytes"] == point.slots[0] * table.bytes
    assert sum(figures["resident"].values()) == figures["resident_bytes"]
    assert point.memory == figures["resident_bytes"] + figures["slot_bytes"]
    assert figures["budget_bytes"] - table.bytes < point.memory <= figures["budget_bytes"]
    assert figures["flash_bytes"] == F * table.stride
    json.dumps(done.as_json())


@pytest.mark.parametrize("memory", ["100%", "1G"])
def test_a_budget_for_everything_gives_the_plan_without_one(tmp_path: Path, memory: str) -> None:
    (tmp_path / "dense").mkdir()
    dense = made(tmp_path / "dense", "swiglu", memory=None)
    found = made(tmp_path, "swiglu", memory=memory)
    names = sorted(p.relative_to(dense.path) for p in dense.path.rglob("*") if p.is_file())
    for name in names:
        ours, theirs = ((each.path / name).read_bytes() for each in (found, dense))
        paths = (str(tmp_path).encode(), str(tmp_path / "dense").encode())
        if name.name != "plan.json":
            assert ours == theirs
        else:  # they say where the model lies
            assert _without_source(ours) == _without_source(theirs), paths
    assert found.figures["resident_bytes"] <= found.figures["budget_bytes"]


def _without_source(text: bytes) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(text)
    del body["digest"], body["model"]["source"]
    return body


@pytest.mark.parametrize("chunk", [1, 2])
def test_single_tokens_run_the_phase_that_is_for_them(tmp_path: Path, chunk: int) -> None:
    """Also where prefill takes no more at a time: it reads all neurons."""
    phase = token_phase(made(tmp_path, "reglu", prefill_chunk=chunk).plan)
    assert phase and {gather.select.by for gather in phase.gathers()} == {"above"}


def test_a_budget_too_small_is_refused_with_the_sum(tmp_path: Path) -> None:
    with pytest.raises(PocketError) as caught:
        made(tmp_path, "swiglu", memory="20K")
    error = caught.value
    assert "20.0 kB is less than this model needs with its FFNs in flash" in error.what
    for part in ("attention", "embedding and head", "keys and values", "scratch", "staging"):
        assert part in error.because
    assert error.hint.startswith("--memory ") and "--max-context" not in error.hint
    made(tmp_path, "swiglu", memory=error.hint.split()[1].rstrip(","))  # and that fits


@pytest.mark.parametrize("memory", ["80%", "260K"])
def test_a_shorter_context_that_is_advised_fits(tmp_path: Path, memory: str) -> None:
    """Also where the budget is a share, which shrinks with the context."""
    with pytest.raises(PocketError) as caught:
        made(tmp_path, "swiglu", memory=memory, max_context=1024)
    context = re.search(r"--max-context (\d+)", caught.value.hint)
    assert context
    made(tmp_path, "swiglu", memory=memory, max_context=int(context[1]))


@pytest.mark.parametrize("memory", ["", "much", "0", "-1G", "3T", "%", "1e9", "9" * 400])
def test_what_is_no_size(tmp_path: Path, memory: str) -> None:
    with pytest.raises(PocketError, match="is no size"):
        made(tmp_path, "swiglu", memory=memory)


def test_floats_of_32_bits_have_no_records(tmp_path: Path) -> None:
    with pytest.raises(PocketError, match="none of it can be in flash") as caught:
        made(tmp_path, "swiglu", weights="source", memory="60%")
    assert "codes of 4 bits" in caught.value.because and "--weights e0m4" in caught.value.hint
