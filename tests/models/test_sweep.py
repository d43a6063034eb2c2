"""Every model of the collection, decoders and others: it compiles, or is refused in words.

Those that other tests of this folder compile are left to them.
"""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from exports import COLLECTION, DISPATCHES, EXPORTS, folder_of
from needed import here

from toolkit import cli

FOLDERS = ("demo", "random", "real", "more/decoders", "more/others", "more/real")
EACH = 4  # the quick test takes every fourth
WHOLE = ("demo", "random")  # where all of them are known to compile
# What test_exports.py and test_dispatches.py compile as well.
ELSEWHERE = {folder_of(*each) for each in EXPORTS} | {
    COLLECTION / "more/decoders" / name for name in DISPATCHES
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_compiles_or_says_why(folder: str, tmp_path: Path) -> None:
    check(folder, sorted(here(COLLECTION / folder).rglob("*.onnx"))[::EACH], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_all_compile_or_say_why(folder: str, tmp_path: Path) -> None:
    check(folder, sorted(here(COLLECTION / folder).rglob("*.onnx")), tmp_path)


def check(folder: str, models: list[Path], tmp_path: Path) -> None:
    assert models
    faults = {}
    for model in models:
        if model.parent in ELSEWHERE:
            continue
        fault = fault_of(model, tmp_path / "x.plan")
        if fault or (folder in WHOLE and not (tmp_path / "x.plan").exists()):
            faults[str(model.relative_to(COLLECTION))] = fault
        shutil.rmtree(tmp_path / "x.plan", ignore_errors=True)
    assert not faults


def fault_of(model: Path, out: Path) -> str:
    """What is wrong with how a compile ended; "" for a plan, or an error of three facts."""
    args = ["compile", str(model), "-o", str(out), "--device", "pocl"]
    result = CliRunner().invoke(cli.cli, args)
    if result.exit_code == 0:
        return "" if (out / "plan.json").is_file() else "it left no plan"
    labels = [line[:11] for line in result.stderr.splitlines() if line[:11].strip()]
    ours = result.exit_code == 1 and not out.exists() and "unexpected" not in result.stderr
    said = len(labels) == 3 and labels[1:] == ["  because: ", "  try:     "]
    blamed = "usable ONNX model" in result.stderr or "download" in result.stderr
    return "" if ours and said and not blamed else result.output
