"""`devices --probe` on PoCL: sane figures, parts that fail alone, nothing left behind."""

from __future__ import annotations

import copy
import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from toolkit.devices import probe, probe_report
from toolkit.devices import resolve as devices
from toolkit.devices.profiles import measured_file, profiles
from toolkit.errors import PocketError
from toolkit.toolchain.opencl_loader import find_opencl, runner_environment

pytestmark = pytest.mark.slow  # a probe measures for seconds
RATES = {"read": "bytes_per_s", "multiply_add_f32": "operations_per_s"}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def found(scratch: Path, program: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One probe for all tests."""
    source = tmp_path_factory.mktemp("source") / "probe.cl"
    source.write_text(probe.source(), encoding="utf-8")
    done = run(program, str(source), "--scratch", str(scratch))
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(program), "--probe", *words, "--cl-lib", str(find_opencl())]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=runner_environment()
    )


def test_every_part_answers(found: dict[str, Any]) -> None:
    parts = set(found) - {"seconds", "cores"}
    assert parts >= {"device", "launch", "alignment", "host", "allocation", "flash", *RATES}
    for part in parts - {"multiply_add_f16"}:
        assert "error" not in found[part], found[part]


def test_rates_are_sane(found: dict[str, Any]) -> None:
    for part, key in RATES.items():
        assert 1e8 < found[part][key] < 1e14
        assert found[part]["spread"] >= 0 and found[part]["samples"] >= 3
    half = found["multiply_add_f16"]
    assert "fp16" in found["device"]["features"] or "cl_khr_fp16" in half["because"]
    assert 0 < found["launch"]["queued_us"] < 1e5 and 0 < found["launch"]["finish_us"] < 1e6


def test_memory_is_what_it_says(found: dict[str, Any]) -> None:
    part, device = found["allocation"], found["device"]
    assert 0 < part["largest_bytes"] <= part["reported_bytes"] == device["largest_buffer_bytes"]
    assert part["total_bytes"] > 0 and part["largest_stopped"] and part["total_stopped"]
    align = found["alignment"]
    assert 4 <= align["smallest_bytes"] <= align["reported_bytes"] == device["align"]
    assert found["host"]["use_host_ptr"]["right"] and found["host"]["alloc_host_ptr"]["right"]


def test_flash_by_size_order_and_threads(found: dict[str, Any], scratch: Path) -> None:
    flash = found["flash"]
    asked = {(r["bytes"], r["order"], r["threads"]) for r in flash["reads"]}
    sizes = [1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 19, 1 << 20]
    assert asked == {(s, o, t) for s in sizes for o in ("random", "sequential") for t in (1, 4)}
    assert all(row["bytes_per_s"] > 0 for row in flash["reads"])
    assert flash["direct"] or flash["why_not_direct"]
    assert list(scratch.iterdir()) == []


def test_cores(found: dict[str, Any]) -> None:
    assert [core["core"] for core in found["cores"]] == list(range(len(found["cores"])))
    assert any(core["usable"] for core in found["cores"])


def test_a_part_that_fails_says_why_and_the_rest_goes_on(program: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.cl"
    broken.write_text("__kernel void rate_read(", encoding="utf-8")
    figures = json.loads(run(program, str(broken), "--scratch", str(tmp_path / "no")).stdout)
    assert "clBuildProgram" in figures["read"]["error"]
    assert "no file can be written" in figures["flash"]["error"]
    assert figures["device"]["max_work_group"] > 0 and figures["cores"]


def test_without_a_device_every_part_but_the_machine_fails(program: Path, tmp_path: Path) -> None:
    source = tmp_path / "probe.cl"
    source.write_text(probe.source(), encoding="utf-8")
    figures = json.loads(run(program, str(source), "--platform", "nowhere").stdout)
    assert "nowhere" in figures["device"]["error"] and figures["cores"]
    assert figures["flash"]["error"] == "not asked for"


def test_a_profile_of_it(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "_here", lambda source: {**copy.deepcopy(found), "class": "cpu"})
    figures = probe.probe(save="my-pc")
    path = Path(figures["saved"])
    assert path == tmp_path / "pocketcl/devices.d/my-pc.yaml"
    assert devices.resolve_device("my-pc")["class"] == "cpu"
    facts = profiles()["my-pc"]
    assert facts["from"] == str(path)
    assert facts["source"].startswith("S measured by pocketcl ") and "driver" in facts["source"]
    assert facts["bandwidth_measured_gbs"] == pytest.approx(
        found["read"]["bytes_per_s"] / 1e9, 1e-3
    )
    text = "\n".join(probe_report.lines(figures))
    assert "GB/s" in text and "flash" in text and str(path) in text
    # The user's own file is above what was measured.
    (tmp_path / "pocketcl/devices.yaml").write_text("devices: {my-pc: {compute_units: 77}}\n")
    assert devices.resolve_device("my-pc")["compute_units"] == 77


def test_parts_that_failed_are_not_in_the_profile(found: dict[str, Any]) -> None:
    figures = copy.deepcopy(found) | {"class": "adreno", "saved": None}
    for part in ("read", "flash", "allocation", "host", "launch"):
        figures[part] = {"error": "the part died", "because": "killed by signal 11"}
    entry = probe.profile_of(figures, datetime.date(2026, 1, 2))
    assert entry["class"] == "adreno" and "2026-01-02" in entry["source"]
    assert not {"bandwidth_measured_gbs", "max_alloc", "ufs_random_4k_gbs"} & set(entry)
    assert "killed by signal 11" in "\n".join(probe_report.lines(figures))


@pytest.mark.parametrize("name", ["../evil", "UPPER", "", "a b", ".hidden"])
def test_a_name_that_is_no_file_name(name: str) -> None:
    with pytest.raises(PocketError, match="cannot be the name"):
        measured_file(name)
