"""plan.json: what is written is read back, and a person can read it."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import PocketError
from toolkit.plan.reader import from_json
from toolkit.plan.schema import Dispatch
from toolkit.plan.text import digest, to_json


@pytest.fixture
def text(plan_path: Path) -> str:
    return (plan_path / "plan.json").read_text()


def test_round_trip(text: str) -> None:
    plan = from_json(text)
    assert to_json(plan) == text
    assert from_json(to_json(plan)) == plan


def test_keys_are_those_of_the_format(text: str) -> None:
    body = json.loads(text)
    assert list(body) == [
        "format", "generator", "model", "profile", "symbols", "buffers", "states", "weights",
        "files", "programs", "phases", "digest",
    ]  # fmt: skip
    step = body["phases"][0]["steps"][2]
    assert list(step) == ["#", "kind", "queue", "name", "args", "writes", "variants"]
    assert step["args"] == [["symbols"], ["buffer", 3], ["scratch", 1]]
    assert step["variants"] == [
        {"program": 2, "global": [["seq"], 8], "local": [1, 1], "requires": []}
    ]
    assert body["phases"][1]["steps"][-1] == {
        "#": 6, "kind": "host", "op": "fetch", "args": [["buffer", 1]], "writes": [],
        "params": {}, "queue": 0,
    }  # fmt: skip
    seq = {"#": 0, "name": "seq", "kind": "input", "min": 1, "max": 5, "slot": 0}
    assert body["symbols"][0] == seq and body["symbols"][3]["length"] == 1
    assert body["states"] == [
        {
            "#": 0, "buffer": 3, "group": "layers.0", "part": "k", "update": "append", "axis": 0,
            "capacity": 40, "layout": "dense", "versions": 1,
        }
    ]  # fmt: skip
    scratch = body["phases"][0]["scratch"][0]
    assert list(scratch) == ["#", "name", "dtype", "shape", "size", "bytes", "offset"]
    assert scratch["size"] == ["seq", 32, "*"]


def test_one_step_per_line(text: str) -> None:
    lines = [line for line in text.splitlines() if '"kind": "dispatch"' in line]
    assert len(lines) == sum(len(p.dispatches()) for p in from_json(text).phases)
    assert '"#": 4' in lines[4] and '"name": "head"' in lines[4]


def test_unknown_keys_are_tolerated(text: str) -> None:
    body = json.loads(text)
    body["phases"][0]["steps"][0]["remark"] = "hello"
    body["later"] = {"a": 1}
    assert from_json(json.dumps(body)) == from_json(text)


def test_digest_covers_everything_above_it(text: str) -> None:
    assert digest(text) in text
    assert digest(text.replace('"embed"', '"embod"')) != digest(text)


@pytest.mark.parametrize(
    "damage, fault",
    [
        ("", "not JSON"),
        ("[]", "not a plan"),
        ('{"format": NaN}', "not JSON"),
        ('{"format": ' + "[" * 100_000, "not JSON"),
        ('{"format": 1' + "0" * 5000 + "}", "not JSON"),
        ('{"format": 1}', "has format 1: this version of PocketCL reads format 2"),
        ('{"format": 3}', "has format 3"),
        ('{"format": true}', "has format True"),
        ('{"format": 2}', "damaged at generator: the key is missing"),
    ],
)
def test_what_is_no_plan(damage: str, fault: str) -> None:
    with pytest.raises(PocketError, match=fault) as caught:
        from_json(damage)
    assert "compile the model again" in caught.value.hint


@pytest.mark.parametrize(
    "path, value, fault",
    [
        (["symbols", 0, "min"], "1", "symbols[0].min: expected int, found '1'"),
        (["symbols", 0, "min"], True, "symbols[0].min: expected int, found True"),
        (["symbols", 0, "name"], "a\nb", "symbols[0].name"),
        (["symbols", 0, "name"], "\ud800", "symbols[0].name"),
        (["phases", 1, "bounds", "seq"], [1], "phases[1].bounds.seq: expected 2 entries"),
        (["phases", 1, "steps", 0, "kind"], "jump", "phases[1].steps[0]: unknown kind"),
        (["phases", 1, "steps", 0, "args", 2], ["weigth", 0], "phases[1].steps[0].args[2]"),
        (["phases", 1, "steps", 0, "variants", 0, "global", 0], ["+"], "variants[0].global[0]"),
        (["programs", 0, "defines"], {"N": "96"}, "programs[0].defines: expected a list"),
        (["buffers", 0], None, "buffers[0]: expected an object"),
    ],
)
def test_a_wrong_type_is_named_by_its_path(
    text: str, path: list[Any], value: Any, fault: str
) -> None:
    body = json.loads(text)
    place = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(PocketError) as caught:
        from_json(json.dumps(body))
    assert fault in str(caught.value)


def test_dispatches_leave_out_host_steps(text: str) -> None:
    phase = from_json(text).phase("decode")
    assert phase is not None
    assert all(isinstance(d, Dispatch) for d in phase.dispatches())
    assert len(phase.dispatches()) == len(phase.steps) - 1
    assert from_json(text).phase("nothing") is None
