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


def put(*path: Any) -> Callable[[Any], None]:
    """An edit: the last of `path` becomes the value at the keys before it."""
    *keys, last, value = path

    def edit(body: Any) -> None:
        for key in keys:
            body = body[key]
        body[last] = value

    return edit


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


# --- meaning -----------------------------------------------------------------------------------

STEP = ("phases", 0, "steps", 0)


@pytest.mark.parametrize(
    "edit_body, parts",
    [
        (put("format", 99), ["has format 99"]),
        (put("files", 0, "path", "../etc/passwd"), ["files[0].path", "no path inside"]),
        (put("files", 0, "path", "/etc/passwd"), ["files[0].path"]),
        (put("files", 0, "path", ""), ["files[0].path"]),
        (put("files", 1, "path", "weights.0.bin"), ["files[1]", "stands at [0] already"]),
        (put("files", 0, "bytes", -1), ["files[0].bytes"]),
        (put("profile", "align", 0), ["profile.align"]),
        (put("profile", "align", "128"), ["profile.align"]),
        (put("profile", {}), ["profile.align", "None"]),
        (put("profile", "local_memory", "32 KiB"), ["profile.local_memory", "32 KiB"]),
        (put("profile", "local_memory", 0), ["profile.local_memory"]),
        (put("symbols", 0, "name", "+"), ["symbols[0].name"]),
        (put("symbols", 0, "name", "max"), ["symbols[0].name"]),
        (put("symbols", 0, "name", "past"), ["symbols[1]", "already"]),
        (put("symbols", 0, "kind", "wild"), ["symbols[0].kind"]),
        (put("symbols", 0, "min", 9), ["symbols[0]", "bounds 9 to 5"]),
        (put("symbols", 0, "max", 2**31), ["symbols[0]"]),
        (put("buffers", 0, "kind", "x"), ["buffers[0].kind"]),
        (put("buffers", 0, "dtype", "f8"), ["buffers[0].dtype", "f32, f16"]),
        (put("buffers", 0, "update", "append"), ["buffers[0].update"]),
        (put("buffers", 3, "update", "sometimes"), ["buffers[3].update"]),
        (put("buffers", 2, "bytes", 459), ["buffers[2].bytes", "459 are too few for 460"]),
        (put("buffers", 2, "shape", [["nothing"]]), ["buffers[2].shape[0]", "'nothing'"]),
        (put("buffers", 2, "shape", [-1]), ["buffers[2].shape[0]", "negative"]),
        (put("buffers", 1, "bytes", 4), ["buffers[1].bytes"]),
        (put("weights", 0, "file", 7), ["weights[0].file", "out of range"]),
        (put("weights", 0, "offset", 100), ["weights[0].offset", "multiple of 16384"]),
        (put("weights", 0, "offset", -16384), ["weights[0].offset"]),
        (put("weights", 0, "offset", 32768), ["weights[0]", "weights.0.bin"]),
        (put("weights", 0, "shape", [23, 9]), ["weights[0].bytes", "too few"]),
        (put("programs", 0, "source", "kernels/x.cl"), ["programs[0].source"]),
        (put("programs", 0, "kernel", "a b"), ["programs[0]", "no name in OpenCL C"]),
        (put("programs", 0, "defines", [["1N", "2"]]), ["programs[0]", "1N"]),
        (put("phases", 0, "bounds", "seq", [1, 6]), ["phases[0].bounds.seq", "not inside"]),
        (put("phases", 0, "bounds", "seq", [3, 2]), ["phases[0].bounds.seq"]),
        (put("phases", 0, "bounds", "x", [3, 2]), ["phases[0].bounds.x", "no such symbol"]),
        (put("phases", 0, "arena_bytes", 256), ["phases[0].scratch[2]", "behind the arena"]),
        (put("phases", 0, "scratch", 0, "bytes", 159), ["phases[0].scratch[0].bytes"]),
        (put("phases", 0, "scratch", 0, "offset", 100), ["phases[0].scratch[0].offset"]),
        (put("phases", 0, "scratch", 0, "offset", None), ["scratch[0].offset", "missing"]),
        (put("phases", 0, "scratch", 0, "size", ["seq", "seq", "*"]), []),
        (put("phases", 0, "scratch", 0, "size", ["seq", 40, "*"]), ["scratch[0].bytes"]),
        (put("phases", 0, "scratch", 2, "offset", 0), ["'spare'", "overlap while both are in"]),
        (put(*STEP, "queue", -1), ["phases[0].steps[0].queue"]),
        (put(*STEP, "args", 3, ["scratch", 9]), ["phases[0].steps[0].args[3]"]),
        (put(*STEP, "args", 3, ["scratch", -1]), ["phases[0].steps[0].args[3]"]),
        (put(*STEP, "writes", [7]), ["phases[0].steps[0].writes[0]"]),
        (put(*STEP, "writes", [2]), ["steps[0].writes[0]", "a weight is never written"]),
        (put(*STEP, "variants", []), ["steps[0].variants", "no way to run"]),
        (put(*STEP, "variants", 0, "program", 5), ["variants[0].program"]),
        (put(*STEP, "variants", 0, "global", []), ["variants[0]", "grid of 0 by 1"]),
        (put(*STEP, "variants", 0, "local", [0]), ["variants[0].local[0]"]),
        (put(*STEP, "variants", 0, "local", [2]), ["global[0]", "no multiple of the local"]),
        (put(*STEP, "variants", 0, "global", [["seq", "past", "//"]]), ["divide by zero"]),
        (put(*STEP, "variants", 0, "requires", ["magic"]), ["requires", "magic"]),
        (put(*STEP, "variants", 0, "local_bytes", -1), ["variants[0].local_bytes", "-1"]),
        (put(*STEP, "variants", 0, "local_bytes", 2**31), ["variants[0].local_bytes"]),
        (put(*STEP, "variants", 0, "local_bytes", "32 KiB"), ["variants[0].local_bytes"]),
        (put("phases", 0, "steps", 6, "op", "boil"), ["phases[0].steps[6].op", "boil"]),
        (put("phases", 0, "steps", 6, "buffer", 8), ["phases[0].steps[6].buffer"]),
        (put("phases", 1, "name", "prefill"), ["phases[1]", "already"]),
        (put("phases", 1, "name", "other"), ["phases", "needs 'decode'"]),
        (put("buffers", 1, "name", "other"), ["buffers", "needs 'ids'"]),
        (put("model", "vocab_size", 0), ["model.vocab_size"]),
        (put("model", "vocab_size", 99), ["buffers[2].bytes"]),
        (put("model", "max_context", 41), ["buffers[1].bytes"]),
        (put("model", "prefill_chunk", 6), ["buffers[0].bytes"]),
        (put("model", "eos", 2), ["model.eos"]),
    ],
)
def test_damage_is_named_by_its_path(edit: Edit, edit_body: Any, parts: list[str]) -> None:
    path = edit(edit_body)
    if parts:
        fails(path, str(path), *parts)
    else:
        load_plan(path)


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


@pytest.mark.parametrize("seed", range(10))
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
