"""`pocketcl estimate`: of a model, of a plan; its keys, its words, and what it refuses."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from product_plan import product_plan
from shaped_decoder import SHAPES, Shape, write_decoder

from toolkit.cli.commands import cli
from toolkit.errors import PocketError
from toolkit.estimate.estimate import contexts_of, estimate
from toolkit.estimate.page import check_pictures, page, write_pictures
from toolkit.estimate.report import lines
from toolkit.plan.text import to_json

DEVICE = "snapdragon-8-gen-3"
KEYS = {"prefill_tokens_per_s", "decode_tokens_per_s", "first_token_s", "memory", "fits"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decoder(tmp_path_factory.mktemp("models") / "tiny", SHAPES["tiny"], 1024)


@pytest.fixture(scope="module")
def found(model: Path) -> dict[str, Any]:
    return estimate(model, DEVICE, weights="e0m4", max_context=1024)


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_the_keys_that_others_build_on(found: dict[str, Any]) -> None:
    assert found.keys() >= KEYS and found["predicted"] is True
    assert {"weights", "kv", "arena", "symbols", "total"} <= found["memory"].keys()
    assert found["device"] == DEVICE and found["fits"] is True
    assert json.loads(json.dumps(found)) == found
    for row in found["contexts"]:
        assert row.keys() >= KEYS


def test_the_parts_make_up_the_whole(found: dict[str, Any]) -> None:
    prefill = sum(row["prefill_s"] for row in found["families"])
    assert prefill == pytest.approx(found["first_token_s"])
    decode = sum(row["decode_s"] for row in found["families"])
    assert 1 / decode == pytest.approx(found["decode_tokens_per_s"])
    assert found["prefill_tokens_per_s"] * prefill == pytest.approx(found["prompt_tokens"])


def test_longer_contexts_are_slower_and_take_more(found: dict[str, Any]) -> None:
    rows = found["contexts"]
    assert [row["context"] for row in rows] == [512, 1024]
    for key in ("prefill_tokens_per_s", "decode_tokens_per_s"):
        assert rows[1][key] < rows[0][key]
    assert rows[1]["memory"]["total"] > rows[0]["memory"]["total"]
    assert rows[1]["memory"] == found["memory"]


def test_a_model_is_estimated_as_the_plan_that_is_made_of_it(model: Path, tmp_path: Path) -> None:
    """Sizes of weights, states and scratch, and all dispatches, without writing any of them."""
    chosen = ["--device", DEVICE, "--weights", "e0m4", "--max-context", "600"]
    plan = tmp_path / "tiny.plan"
    done = CliRunner().invoke(cli, ["compile", str(model), "-o", str(plan), *chosen])
    assert done.exit_code == 0, done.output
    of_plan = estimate(plan)
    of_model = estimate(model, DEVICE, weights="e0m4", max_context=600)
    assert of_plan["about"].pop("source") == "tiny.plan"
    of_model["about"].pop("source")
    assert of_plan == of_model


def test_rows_go_to_the_models_own_limit(model: Path) -> None:
    assert [row["context"] for row in estimate(model, DEVICE)["contexts"]] == [512, 1024]
    assert contexts_of(300) == [300]
    assert contexts_of(4096) == [512, 2048, 4096]
    assert contexts_of(20000) == [512, 2048, 4096, 8192, 16384, 20000]


def test_memory_that_the_user_tells(model: Path) -> None:
    whole = estimate(model, DEVICE)
    little = estimate(model, DEVICE, memory=whole["memory"]["total"] - 1)
    assert whole["fits"] is True and whole["longest_context"] == 1024
    assert little["fits"] is False and little["room"]["source"] == "--memory"
    assert 0 < little["longest_context"] < 1024
    assert estimate(model, "snapdragon-865")["fits"] is None


def test_the_report_says_predicted_on_every_part(found: dict[str, Any]) -> None:
    text = list(lines(found))
    assert "predicted" in text[0]
    heads = [line for line in text if not line.startswith(" ")]
    assert all("predicted" in line for line in heads if line != "from")
    assert any("assumed" in line for line in text)


def test_pictures_are_whole_and_escaped(found: dict[str, Any], tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>&"
    figures = {**found, "about": {**found["about"], "source": evil, "gpu": evil}}
    svg, html = tmp_path / "a.svg", tmp_path / "a.html"
    write_pictures(svg, html, figures)
    words = "".join(ElementTree.parse(svg).getroot().itertext())
    assert "predicted, not measured" in words and evil in words
    text = html.read_text(encoding="utf-8")
    assert text == "\n".join(page(figures)) + "\n"
    assert "<script>alert" not in text and "http" not in text.replace("http://www.w3.org", "")


def test_one_context_and_unknown_memory_can_be_drawn(tmp_path: Path) -> None:
    model = write_decoder(tmp_path / "m", Shape(1, 32, 2, 1, 16, 32, 64), 64)
    write_pictures(tmp_path / "a.svg", tmp_path / "a.html", estimate(model, "dimensity-9300"))


@pytest.mark.parametrize("name", ["a.png", "a", "missing/a.svg"])
def test_pictures_elsewhere_are_refused_before_the_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(PocketError):
        check_pictures(tmp_path / name, None)


def refused(*words: str, code: int = 1) -> str:
    done = CliRunner().invoke(cli, ["estimate", *words])
    assert done.exit_code == code and "Traceback" not in done.output
    return done.output


def test_what_is_refused(model: Path, tmp_path: Path) -> None:
    assert "no device is called 'snapdragn'" in refused(str(model), "--device", "snapdragn")
    assert "does not fit" in refused(str(model), "--device", DEVICE, "--prompt-tokens", "2000")
    assert "no size" in refused(str(model), "--memory", "lots", code=2)
    assert "--device phone" in refused(str(model), "--serial", "x", code=2)
    refused(str(tmp_path / "nothing.onnx"), code=2)


def test_plans_that_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "p.plan"
    folder.mkdir()
    (folder / "plan.json").write_text("{}")
    assert "is not a plan" in refused(str(folder))
    (folder / "plan.json").write_text(to_json(product_plan()))
    assert "p.plan" in refused(str(folder), "--device", DEVICE)  # its files are not there


def test_a_plan_of_another_class_is_refused(model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "tiny.plan"
    done = CliRunner().invoke(cli, ["compile", str(model), "-o", str(plan), "--device", DEVICE])
    assert done.exit_code == 0, done.output
    told = refused(str(plan), "--device", "dimensity-9300")
    assert f"is compiled for {DEVICE}, not for dimensity-9300" in told
    assert f"pocketcl estimate {model}" in told
    assert "--weights goes with a model" in refused(str(plan), "--weights", "e0m4")


def test_a_compile_warns(model: Path, tmp_path: Path) -> None:
    (tmp_path / "pocketcl").mkdir()
    entry = "{class: adreno, opencl_memory: 500000, source: test}"
    (tmp_path / "pocketcl/devices.yaml").write_text(f"devices: {{small: {entry}}}")
    words = ["compile", str(model), "-o", str(tmp_path / "p.plan"), "--device", "small", "--json"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0 and "warning: the plan takes" in done.stderr
    assert "small is known to give 500.0 kB" in json.loads(done.stdout)["warning"]
