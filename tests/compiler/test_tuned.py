"""Files of tuned knobs, and the names of shapes in them."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opencl_kernels import KERNELS
from opencl_kernels.attention.attention import Heads
from opencl_kernels.case import At, Case
from opencl_kernels.layouts import quantized
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from opencl_kernels.norm.rmsnorm import Rows
from opencl_kernels.tuned import (
    changed,
    default_knobs,
    knobs_for,
    least_local_bytes,
    shape_key,
    usual_knobs,
    values_of,
)
from toolkit.compiler import tuned
from toolkit.errors import PocketError
from toolkit.plan.expr import from_rpn, symbol, to_rpn

CODES = Product(M=1, N=2048, K=2048, w=quantized("e0m4", 32, "f16"))
SHAPE = "N2048 K2048 e0m4 32"
TABLE = {"gemv_quantized_cpu": {SHAPE: {"PREFETCH": 32}}}
FACTS = {"profile": "pocl", "device": "a CPU", "driver": "3.1", "date": "2026-01-31"}


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tuned/pocl.json"


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    "case, key",
    [
        (CODES, SHAPE),
        (
            replace(CODES, w=quantized("e0m4", 32, "f16", "u8"), glu=Glu(5), norm=Norm(1e-5)),
            f"{SHAPE} zero glu norm",
        ),
        (replace(CODES, M=symbol("seq"), residual=True), f"Mseq {SHAPE} residual"),
        (replace(CODES, M=2 * symbol("seq"), B=2), f"M2*seq B2 {SHAPE}"),
        (Rows(M=3, D=64, EPS=1e-5, x="f16", y="f16"), "M3 D64 x-f16 y-f16"),
        (Heads(M=1, H=12, G=4, K=64, C=99, kv="f16"), "H12 G4 K64 kv-f16"),
        (Case(), "any"),
    ],
)
def test_a_shapes_name(case: Case, key: str) -> None:
    assert shape_key(case) == key


def test_a_shape_has_the_same_name_when_it_was_read_from_a_plan() -> None:
    rows = 3 * symbol("seq") + 1
    assert shape_key(replace(CODES, M=from_rpn(to_rpn(rows)))) == shape_key(replace(CODES, M=rows))


def test_knobs_that_are_not_in_the_table_keep_their_default() -> None:
    kernel = KERNELS["gemv_quantized_cpu"]
    usual = default_knobs(kernel, "cpu")
    assert knobs_for(kernel, CODES, usual, TABLE, 0) == {**usual, "PREFETCH": 32}
    assert knobs_for(kernel, replace(CODES, N=64), usual, TABLE, 0) == usual
    assert changed({**usual, "PREFETCH": 32}, usual) == {"PREFETCH": 32}


GEMMA = Heads(M=5, H=8, G=1, K=256, C=64, SCALE=0.06, at=At(seq=5))


def test_knobs_are_the_first_that_find_room() -> None:
    kernel = KERNELS["attention_prefill"]
    usual = {"WG": 64, "KEYS": 64, "QROWS": 8}
    assert usual_knobs(kernel, GEMMA, "generic", 1 << 20) == usual
    needed = kernel.requires(GEMMA, usual).local_bytes
    assert usual_knobs(kernel, GEMMA, "generic", needed) == usual
    assert usual_knobs(kernel, GEMMA, "generic", needed - 1) == {**usual, "QROWS": 4}
    least = least_local_bytes(kernel, GEMMA, "generic")
    assert usual_knobs(kernel, GEMMA, "generic", least) == {"WG": 32, "KEYS": 64, "QROWS": 2}
    assert usual_knobs(kernel, GEMMA, "generic", least - 1) is None


def test_tuned_knobs_that_find_no_room_are_not_taken() -> None:
    kernel = KERNELS["attention_prefill"]
    usual = {"WG": 64, "KEYS": 64, "QROWS": 4}
    room = kernel.requires(GEMMA, usual).local_bytes
    table = {kernel.name: {shape_key(GEMMA): {"KEYS": 32}}}
    assert knobs_for(kernel, GEMMA, usual, table, room) == {**usual, "KEYS": 32}
    table = {kernel.name: {shape_key(GEMMA): {"QROWS": 8}}}
    assert knobs_for(kernel, GEMMA, usual, table, room) == usual


def test_a_launch_size_of_another_class_is_not_tried() -> None:
    assert values_of(KERNELS["embed"], "WORKERS", "cpu") == (8, 1)
    assert values_of(KERNELS["embed"], "WORKERS", "generic") == (0,)


def test_what_is_written_is_read(file: Path, notes: list[str]) -> None:
    tuned.write_table(file, FACTS, TABLE)
    assert tuned.read_table(file, notes.append) == TABLE and notes == []
    body = json.loads(file.read_text())
    assert body == {**FACTS, "format": 1, "kernels": TABLE}
    assert f' "{SHAPE}": {{"PREFETCH": 32}}' in file.read_text().splitlines()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_the_file_knew_of_other_shapes_stays(file: Path) -> None:
    tuned.write_table(file, FACTS, TABLE)
    more = {"gemv_quantized_cpu": {"N64 K64 q8 32": {"HINT": 2}}, "gemv_cpu": {"N7 K3 f32": {}}}
    tuned.write_table(file, FACTS, more)
    tuned.write_table(file, FACTS, {"gemv_quantized_cpu": {SHAPE: {}}})
    found = tuned.read_table(file, print)
    assert found["gemv_quantized_cpu"] == {SHAPE: {}, "N64 K64 q8 32": {"HINT": 2}}
    assert found["gemv_cpu"] == {"N7 K3 f32": {}}


def test_no_file_is_no_fault(file: Path, notes: list[str]) -> None:
    assert tuned.read_table(file, notes.append) == {} and notes == []


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "{}", '{"format": 2, "kernels": {}}', '{"format": 1, "kernels": 3}',
             '{"format": 1, "kernels": ' + "[" * 99_999, "\udcff"],
)  # fmt: skip
def test_a_damaged_file_is_ignored_with_one_note(file: Path, notes: list[str], text: str) -> None:
    file.parent.mkdir()
    file.write_bytes(text.encode(errors="surrogateescape"))
    assert tuned.read_table(file, notes.append) == {}
    assert len(notes) == 1 and str(file) in notes[0] and "is ignored" in notes[0]
    assert "\n" not in notes[0]
    tuned.write_table(file, FACTS, TABLE)  # and tuning replaces it
    assert tuned.read_table(file, notes.append) == TABLE


@pytest.mark.parametrize(
    "kernels, left, fault",
    [
        ({"gemv_gone": {SHAPE: {}}}, {}, "kernel 'gemv_gone'"),
        ({"gemv_cpu": 7}, {}, "kernel 'gemv_cpu'"),
        ({"gemv_cpu": {SHAPE: [1]}}, {}, f"gemv_cpu '{SHAPE}'"),
        ({"gemv_cpu": {"a": {"WG": 64, "PREFETCH": 0}}}, {"a": {"PREFETCH": 0}}, "WG=64"),
        ({"gemv_cpu": {"a": {"PREFETCH": 31}}}, {"a": {}}, "PREFETCH=31"),
        ({"gemv_cpu": {"a": {"PREFETCH": "0"}}}, {"a": {}}, "PREFETCH='0'"),
        ({"gemv_cpu": {"a": {"PREFETCH": False}}}, {"a": {}}, "PREFETCH=False"),
    ],
)
def test_what_is_unknown_is_ignored(
    file: Path, notes: list[str], kernels: Any, left: Any, fault: str
) -> None:
    write(file, json.dumps({"format": 1, "kernels": {**kernels, "gemv_quantized_cpu": {}}}))
    assert tuned.read_table(file, notes.append).get("gemv_cpu", {}) == left
    assert len(notes) == 1 and fault in notes[0]


def test_many_faults_are_one_note(file: Path, notes: list[str]) -> None:
    write(file, json.dumps({"format": 1, "kernels": {"a": {}, "b": {}, "c": {}}}))
    assert tuned.read_table(file, notes.append) == {}
    assert len(notes) == 1 and notes[0].endswith("and 2 more")


def test_the_users_knobs_go_before_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "PACKAGE", tmp_path / "package")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert tuned.tuned_table("pocl") == {}
    shipped = {"gemv_cpu": {"a": {"PREFETCH": 0}, "b": {"PREFETCH": 0}}}
    tuned.write_table(tuned.shipped_file("pocl"), FACTS, shipped)
    tuned.write_table(tuned.user_file("pocl"), FACTS, {"gemv_cpu": {"b": {}}, **TABLE})
    assert tuned.tuned_table("pocl") == {"gemv_cpu": {"a": {"PREFETCH": 0}, "b": {}}, **TABLE}
    assert tuned.tuned_table("another") == {}


def test_a_profiles_name_is_no_path() -> None:
    assert tuned.user_file("../a b").name == ".._a_b.json"


def test_a_table_is_written_whole_or_not_at_all(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned.write_table(file, FACTS, TABLE)
    before = file.read_text()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuned.write_table(file, FACTS, {"gemv_cpu": {"a": {}}})
    assert file.read_text() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PocketError, match="cannot write") as raised:
        tuned.write_table(tmp_path / "file/pocl.json", FACTS, TABLE)
    assert raised.value.because and raised.value.hint


def test_save_needs_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuned.check_checkout("pocl") == tuned.shipped_file("pocl")
    monkeypatch.setattr(tuned, "PACKAGE", tmp_path / "opencl_kernels")
    with pytest.raises(PocketError, match="--save") as raised:
        tuned.check_checkout("pocl")
    assert "not a checkout" in raised.value.because and raised.value.hint
    (tmp_path / "pyproject.toml").write_text("")
    with pytest.raises(PocketError, match="--save") as raised:
        tuned.check_checkout("pocl")
    assert "cannot be written" in raised.value.because
