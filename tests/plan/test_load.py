"""The loader: whatever is done to a plan, it answers with a plan or with one clear error."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import PocketError
from toolkit.plan.load import check_hashes, load_plan
from toolkit.plan.schema import Plan

Edit = Callable[[Callable[[Any], Any]], Path]


def fails(path: Path, *parts: str) -> None:
    with pytest.raises(PocketError) as caught:
        load_plan(path)
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.hint


# --- files -------------------------------------------------------------------------------------


def test_no_plan(tmp_path: Path) -> None:
    fails(tmp_path, "is not a plan: it has no plan.json")
    fails(tmp_path / "nowhere", "is not a plan: there is no such folder")


def test_not_text(own_plan: Path) -> None:
    (own_plan / "plan.json").write_bytes(b"\xff\xfe")
    fails(own_plan, "cannot read")


@pytest.mark.parametrize("name", ["weights.0.bin", "kernels/toy.cl", "generation_config.json"])
def test_missing_file(own_plan: Path, name: str) -> None:
    (own_plan / name).unlink()
    fails(own_plan, f"{name} is missing")


@pytest.mark.parametrize("change", [-1, 1])
def test_weights_of_another_size(own_plan: Path, change: int) -> None:
    file = own_plan / "weights.0.bin"
    file.write_bytes((file.read_bytes() + b"x")[: file.stat().st_size + change])
    fails(own_plan, "weights.0.bin is damaged", "the plan lists 32768")


def test_a_folder_in_the_place_of_a_file(own_plan: Path) -> None:
    for name in ("weights.0.bin", "kernels/toy.cl"):
        (own_plan / name).unlink()
        (own_plan / name).mkdir()
        fails(own_plan, "toy.plan")


def test_hashes_find_a_flipped_bit(own_plan: Path) -> None:
    plan = load_plan(own_plan)
    check_hashes(own_plan, plan)
    file = own_plan / "weights.0.bin"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    assert load_plan(own_plan) == plan
    with pytest.raises(PocketError, match="is damaged"):
        check_hashes(own_plan, plan)
    file.unlink()
    with pytest.raises(PocketError, match="is missing"):
        check_hashes(own_plan, plan)


@pytest.mark.parametrize("name", ["kernels/toy.cl", "generation_config.json", "plan.json"])
def test_edited_text_loads_after_one_line(
    own_plan: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    load_plan(own_plan)
    assert capsys.readouterr().err == ""
    file = own_plan / name
    file.write_text(file.read_text().replace("{", "{ ", 1))
    load_plan(own_plan)
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"note: {file} was edited after the compile"]
    assert said.out == ""


# --- fuzz --------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 127, 2**31, 2**62, 2**63, 10**40, 1.5, True, None, "", "seq", "+", "//", "fetch",
    [], {}, [0], ["seq"], ["symbols"], ["scratch", 1], ["seq", 0, "//"], ["past", "seq", "%"],
    ["seq", "past", "-"], {"kind": "wait"}, "\ud800", "a\0b", "x" * 300,
)  # fmt: skip


def places(body: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    found = []
    items = body.items() if isinstance(body, dict) else enumerate(body)
    for key, value in items:
        found.append((body, key))
        if isinstance(value, dict | list):
            found += places(value)
    return found


def mutate(body: Any, generator: random.Random) -> None:
    container, key = generator.choice(places(body))
    value = container[key]
    action = generator.randrange(5)
    if action == 0:
        del container[key]
    elif action == 1 and type(value) is int:
        container[key] = value + generator.choice([-1, 1, 128, -128])
    elif action == 2 and isinstance(container, list):
        container.insert(generator.randrange(len(container) + 1), copy.deepcopy(value))
    elif action == 3:
        other, name = generator.choice(places(body))
        container[key] = copy.deepcopy(other[name])
    else:
        container[key] = generator.choice(VALUES)


def loads_or_explains(path: Path) -> bool:
    try:
        plan = load_plan(path, note=lambda line: None)
    except PocketError as error:
        assert error.what and error.hint
        return False
    assert isinstance(plan, Plan)
    for phase in plan.phases:
        for s in phase.scratch:
            assert s.offset is not None and 0 <= s.offset <= phase.arena_bytes - s.bytes
    return True


@pytest.mark.parametrize(
    "seed", [pytest.param(each, marks=() if each < 4 else pytest.mark.slow) for each in range(10)]
)
def test_random_json_edits(own_plan: Path, seed: int) -> None:
    generator = random.Random(seed)
    file = own_plan / "plan.json"
    original = json.loads(file.read_text())
    loaded = 0
    for _ in range(300):
        body = copy.deepcopy(original)
        for _ in range(generator.choice([1, 1, 1, 2, 4])):
            mutate(body, generator)
        file.write_text(json.dumps(body))
        loaded += loads_or_explains(own_plan)
    assert 0 < loaded < 300


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes(own_plan: Path, seed: int) -> None:
    generator = random.Random(seed)
    file = own_plan / "plan.json"
    original = file.read_bytes()
    for _ in range(250):
        content = bytearray(original)
        for _ in range(generator.choice([1, 2, 8])):
            content[generator.randrange(len(content))] = generator.choice(b'{}[],:"-0129aeE\\ \xff')
        file.write_bytes(content[: generator.choice([len(content), generator.randrange(9999)])])
        loads_or_explains(own_plan)
