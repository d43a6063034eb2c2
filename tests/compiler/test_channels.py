"""Networks of which a token takes the greatest inputs and hidden units: tables of columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_networks import F, made
from needed import here
from pass_helpers import SHARED

import toolkit
from onnx_passes.analysis.ffn import find_ffns
from onnx_passes.ir.graph import needed
from onnx_passes.mask_ffn import count_of, split
from opencl_kernels.formats import Array
from opencl_kernels.layouts import F16, quantized
from opencl_kernels.records import packing
from opencl_kernels.records.record import Record
from toolkit.compiler.budget import fit
from toolkit.compiler.budget.told import budget_lines
from toolkit.compiler.rewriting.passes import rewritten_for
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify
from toolkit.executors.open import open_executor
from toolkit.offload.access_trace import line
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.offload.orders import order_of
from toolkit.offload.points import choose_point
from toolkit.offload.selection import at_point
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan, Table
from toolkit.predictors.folder import Folder
from toolkit.predictors.layer import Layer, Sizes, Taken

D, ROOM = 32, "500K"  # for some of the records
IDS = [3, 1, 4, 1, 5]


SLOW = pytest.mark.slow  # of each kind one is quick


@pytest.fixture(autouse=True, scope="module")
def large() -> Iterator[None]:
    """Tiles and reads of so small a network take more than it: as if it were a larger one's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "dense_bytes", lambda *_: 10**9)
        yield


def dip(folder: Path, kind: str = "swiglu", **options: Any) -> Any:
    return made(folder, kind, **{"sparsity": "dip", "density": 0.5, "memory": ROOM, **options})


def decode_of(plan: Plan) -> Any:
    found = plan.phase("decode")
    assert found is not None
    return found


def test_the_plan_of_a_network(tmp_path: Path) -> None:
    done = dip(tmp_path)
    before, after = done.plan.tables
    assert (before.name, before.kind, before.count) == ("layers.0.ffn.in", "channel", D)
    assert (after.name, after.kind, after.count) == ("layers.0.ffn.out", "down", F)
    assert [part.name for part in before.parts] == ["up", "gate"]
    assert {part.length for part in before.parts} == {F}
    assert [(part.name, part.length) for part in after.parts] == [("down", D)]
    assert before.stride == before.bytes and after.stride == after.bytes
    found = [(g.select.by, g.select.k, g.tile) for g in decode_of(done.plan).gathers()]
    assert found == [("top", 18, 0), ("top", 245, 0)]  # .5744 of 32, .3512 of 700
    others = [g for p in done.plan.phases if p.name != "decode" for g in p.gathers()]
    assert {g.select.by for g in others} == {"all"} and all(g.tile for g in others)
    figures = done.figures
    assert (figures["selector"], figures["density"], figures["gamma"]) == ("dip", 0.5, 1.0)
    assert figures["loss"] is None and figures["policy"] == "lfu"
    assert any("has not been measured" in text for text in budget_lines(figures))


@pytest.mark.parametrize(
    "kind, on",
    [
        pytest.param("biased swiglu", "host", marks=SLOW),
        ("no gate", "runner"),
        pytest.param("gated by erf", "host", marks=SLOW),
    ],
)
def test_gathers_compute_what_the_graph_does(tmp_path: Path, kind: str, on: str) -> None:
    report = verify(dip(tmp_path, kind).path, on=on)
    assert report["ok"], report
    assert all(case["judged_nmse"] < 1e-9 for case in report["cases"]), report


def records_of(folder: Path, plan: Plan, table: Table) -> list[Array]:
    """The numbers [count, length] of each part, as the file has them."""
    part = table.parts[0]
    zero = "u8" if part.zero else ""
    stored = F16 if part.dtype == "f16" else quantized("e0m4", part.group, "f16", zero)
    record = Record(len(table.parts), part.length, stored)
    raw = np.fromfile(folder / plan.files[table.file].path, np.uint8)[table.offset :]
    apart = raw[: table.count * table.stride].reshape(table.count, table.stride)
    return packing.values(record, np.ascontiguousarray(apart[:, : table.bytes]).view(np.uint32))


@pytest.mark.parametrize(
    "weights", [pytest.param({}, marks=SLOW), {"weights": "e0m4", "group": 16}]
)
def test_records_are_columns(tmp_path: Path, weights: dict[str, Any]) -> None:
    """Of gates and ups that lie side by side groups end where each ends, and 700 is no multiple."""
    plan = load_plan(dip(tmp_path, **weights).path)
    (ffn,), _ = find_ffns(rewritten_for(load_source(tmp_path / "model.onnx"), plan))
    before, after = plan.tables
    sides = {"up": ffn.up, "gate": ffn.gate}
    for part, found in zip(
        before.parts, records_of(tmp_path / "m.plan", plan, before), strict=True
    ):
        side = sides[part.name]
        assert side is not None and side.weight.const_value is not None
        whole = side.weight.const_value.numpy()
        np.testing.assert_allclose(found, whole[:, side.first :][:, :F], rtol=1e-3, atol=1e-6)
    down = needed(ffn.down, 1).const_value
    (found,) = records_of(tmp_path / "m.plan", plan, after)
    assert down is not None
    np.testing.assert_allclose(found, down.numpy(), rtol=1e-3, atol=1e-6)
    assert verify(tmp_path / "m.plan", on="host")["ok"]


@pytest.mark.slow
def test_all_of_a_network_is_the_dense_one(tmp_path: Path) -> None:
    report = verify(dip(tmp_path, density=1).path, on="host")
    assert report["ok"]
    assert all(case["nmse"] < 1e-10 for case in report["original"]), report["original"]


def test_what_is_worth_as_much_is_no_preference(tmp_path: Path) -> None:
    done = dip(tmp_path, sparsity="dip-ca", gamma=1)
    assert {g.select.gamma for g in decode_of(done.plan).gathers()} == {1.0}
    assert done.figures["selector"] == "dip"


@pytest.mark.parametrize("on", ["host", pytest.param("runner", marks=SLOW)])
def test_by_what_lies_in_memory(tmp_path: Path, on: str) -> None:
    done = dip(tmp_path, sparsity="dip-ca", gamma=0.2)
    (point,) = done.plan.points
    assert point.policy == "static" and point.pinned == point.slots and 0 < point.slots[1] < F
    report = verify(done.path, on=on)
    assert report["ok"], report
    other = verify(done.path, on=on, memory=point.memory - 20_000)  # another choice, as right
    assert other["ok"] and other["original"] != report["original"]
    with pytest.raises(PocketError, match="auto can't be verified"):
        verify(done.path, on=on, memory="auto")


@pytest.mark.parametrize("on", [pytest.param("host", marks=SLOW), "runner"])
def test_what_is_chosen_is_the_machines(tmp_path: Path, on: str) -> None:
    """And nothing is missed where what isn't in memory counts nothing and there is room for k."""
    done = dip(tmp_path, sparsity="dip-ca", gamma=0, density=0.2)
    trace = tmp_path / "trace"
    executor = open_executor(done.path, on, trace=trace)
    first = executor.prefill(IDS, 0)
    before = executor.stats()["tables"]
    list(executor.decode(first, len(IDS), 9, ()))
    after = executor.stats()["tables"]
    executor.close()
    plan = load_plan(done.path)
    point = choose_point(plan)
    ks = [g.select.k for g in decode_of(plan).gathers()]
    assert all(k <= n for k, n in zip(ks, point.slots, strict=True))
    assert after["selected"] - before["selected"] == 9 * sum(ks)
    assert after["hits"] - before["hits"] == 9 * sum(ks)
    assert after["reads"] == before["reads"]
    machine, scores = (
        Machine(plan.tables, point, Flash("none")),
        np.fromfile(f"{trace}.scores", "f4"),
    )
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    for told in trace.read_text().splitlines():
        step, number = json.loads(told)["t"], json.loads(told)["g"]
        gather = gathers[number]
        count = plan.tables[gather.table].count if gather.select.source else 0
        own, scores = scores[:count], scores[count:]
        rule = at_point(gather.select, point.select[number])
        assert told == line(
            step, number, machine.gather(gather.table, rule, own, step, gather.tile)
        )
    assert not len(scores)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"density": None}, "--sparsity dip goes with --density"),
        ({"density": 1.5}, "--density 1.5 is none"),
        ({"density": "0.7"}, "'0.7' is not a number for density"),
        ({"density": True}, "True is not a number for density"),
        ({"sparsity": "dip-ca", "gamma": [0.2]}, r"\[0.2\] is not a number for gamma"),
        ({"gamma": 0.5}, "--gamma and --sparsity dip-ca go together"),
        ({"sparsity": "dip-ca"}, "--gamma and --sparsity dip-ca go together"),
        ({"sparsity": "dip-ca", "gamma": 2}, "--gamma 2 is not from 0 to 1"),
        ({"sparsity": "dip-ca", "gamma": 0.5, "policy": "lfu"}, "keeps to --policy static"),
        ({"sparsity": "all"}, "--density goes with --sparsity dip"),
        ({"sparsity": None, "density": None, "gamma": 0.5}, "--gamma goes with --sparsity dip"),
        ({"batch": 2}, "--sparsity dip does not go with --batch"),
        ({"weights": "f32"}, "not all in codes of 4 bits, or all in halves"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(PocketError, match=says):
        dip(tmp_path, **options)
    assert not (tmp_path / "m.plan").exists()


ROWS = [  # what tokens of held-out text cost, by selector, density, gamma and memory
    {"selector": "dip", "density": d, "gamma": 1.0, "memory": 0.5, "loss": loss, "missed": 0.5}
    for d, loss in ((0.5, 0.2), (0.7, 0.009), (0.9, 0.001))
] + [
    {"selector": "dip-ca", "density": d, "gamma": g, "memory": m, "loss": loss * m, "missed": g}
    for d, g, loss in ((0.5, 0.1, 0.4), (0.7, 0.1, 0.04), (0.7, 0.5, 0.009), (0.9, 0.1, 0.008))
    for m in (0.25, 0.75)
]


@pytest.fixture(scope="module")
def calibrated(large: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the model that each test makes."""
    out = tmp_path_factory.mktemp("calibrated")
    dip(out)
    folder, rng = Folder(out / "c"), np.random.default_rng(3)
    made_of = {"model_sha256": load_source(out / "model.onnx").sha256}
    folder.begin(made_of)
    taken = {d: Taken(*(rng.random(n).astype(np.float32) for n in (D, F))) for d in (0.5, 0.7)}
    none = np.zeros(F, np.float32)
    sizes = Sizes(*(abs(rng.normal(size=(4, n))).astype(np.float16) for n in (D, F)))
    folder.add(0, Layer("layers.0.ffn", "swiglu", none, none, None, taken=taken, sizes=sizes))
    layers = [{"sha256": folder.digest(0)}]
    folder.write(
        {"made_of": made_of, "finished": True, "points": [], "layers": layers, "dip": ROWS}
    )
    return folder.path


@pytest.mark.parametrize(
    "options, density, gamma, loss, policy",
    [
        pytest.param({}, 0.7, 1.0, 0.009, "static", marks=SLOW),
        ({"max_loss": "30%"}, 0.5, 1.0, 0.2, "static"),
        pytest.param({"density": 0.9}, 0.9, 1.0, 0.001, "static", marks=SLOW),
        pytest.param({"sparsity": "dip-ca"}, 0.7, 0.5, 0.009, "static", marks=SLOW),
        pytest.param(
            {"sparsity": "dip-ca", "max_loss": "5%", "policy": "static"},
            *(0.7, 0.1, 0.03, "static"),
            marks=SLOW,
        ),
    ],
)
def test_what_a_calibration_has_measured(
    tmp_path: Path,
    calibrated: Path,
    options: dict[str, Any],
    density: float,
    gamma: float,
    loss: float,
    policy: str,
) -> None:
    """Of the points that cost little enough the fastest; what is frequent stays."""
    done = dip(tmp_path, **{"density": None, "calibration": calibrated, **options})
    plan, figures = load_plan(done.path), done.figures
    told = [figures[key] for key in ("density", "gamma", "policy", "loss")]
    assert told == [density, gamma, policy, pytest.approx(loss)]
    assert any(f"perplexity {loss:+.2%} at most" in text for text in budget_lines(figures))
    known = Folder(calibrated).layer(0).taken[min(density, 0.7)]
    for table, often in zip(plan.tables, (known.inputs, known.units), strict=True):
        order = order_of(done.path, plan, table)
        assert order is not None
        np.testing.assert_array_equal(order, np.argsort(-often, kind="stable"))
    known_options = plan.model["options"]
    assert known_options["density"] == density and known_options.get("gamma", 1.0) == gamma
    ks = {gather.table: gather.select.k for gather in decode_of(plan).gathers()}
    shares = split(density, True)
    assert ks == {0: count_of(shares[0], D), 1: count_of(shares[1], F)}
    assert all(point.slots == point.pinned for point in plan.points)
    if options == {"sparsity": "dip-ca"}:
        assert verify(done.path, on="host")["ok"]


@pytest.mark.parametrize(
    "options, says",
    [
        ({"max_loss": "0.01%"}, r"no density costs at most 0\.01%"),
        ({"density": 0.6}, "the calibration has no such point"),
        ({"policy": "importance"}, "--policy importance does not go with dip"),
    ],
)
def test_what_a_calibration_has_not(
    tmp_path: Path, calibrated: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(PocketError, match=says):
        dip(tmp_path, **{"density": None, "calibration": calibrated, **options})


@pytest.mark.slow
@pytest.mark.parametrize("on", ["host", "runner"])
def test_a_trained_model_in_codes(tmp_path: Path, on: str) -> None:
    path = here(SHARED / "real/trained-llama_silu-onnx-optimum")
    sizes = {"max_context": 64, "prefill_chunk": 8, "group": 16, "memory": "950K"}
    for way in ({"sparsity": "dip"}, {"sparsity": "dip-ca", "gamma": 0.2}):
        done = toolkit.compile(
            path, tmp_path / "m.plan", weights="e0m4", density=0.5, **sizes, **way
        )
        report = verify(done.path, on=on)
        assert report["ok"] and done.figures["requantized"] == [], report


@pytest.mark.slow
@pytest.mark.parametrize("flash", ["ufs21", "m1max"])
def test_by_itself_it_is_what_is_predicted_to_be_faster(
    tmp_path: Path, calibrated: Path, flash: str
) -> None:
    usual: dict[str, Any] = {"density": None, "calibration": calibrated, "flash": flash}
    taken = {}
    for name, sparsity in (("all", "all"), ("ca", "dip-ca"), ("auto", None)):
        limit = {} if sparsity == "all" else {"max_loss": "30%"}
        (tmp_path / name).mkdir()
        done = dip(tmp_path / name, sparsity=sparsity, **usual, **limit)
        figures = done.figures
        seconds = figures["predicted_read_s"]
        if figures["predicted_tokens_per_s"]:
            seconds = 1 / figures["predicted_tokens_per_s"]
        taken[name] = seconds, figures["selector"], figures.get("density")
    assert taken["auto"] == min(taken["all"], taken["ca"])
    (tmp_path / "lfu").mkdir()  # a policy that dip-ca doesn't keep to is a wish for another one
    done = dip(tmp_path / "lfu", sparsity=None, policy="lfu", max_loss="30%", **usual)
    assert done.figures["selector"] == "all"
