"""`bench --kernels --count`: which Clang and which kernels are taken, and what is reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clang_ir import needs_clang
from click.testing import CliRunner

from opencl_kernels import KERNELS
from toolkit import cli
from toolkit.bench import kernel_counts
from toolkit.bench.counting import clang
from toolkit.bench.counting.launches import WAVES, Count
from toolkit.bench.counting.memory import GLOBAL, Buffers
from toolkit.bench.counting.waves import Issued
from toolkit.errors import PocketError, format_error


@pytest.mark.parametrize(
    ("here", "given", "expected"),
    [
        ("clang clang-19 clang-15 clang-14", "", "clang-14"),
        ("clang clang-16 clang-15", "", "clang-15"),
        ("clang clang-16", "", "clang"),
        ("clang-19 clang-16", "", "clang-16"),
        ("clang clang-14 mine", "mine", "mine"),
        ("clang clang-14", "mine", None),  # nothing takes the place of what is asked for
        ("", "", None),
    ],
)
def test_a_tested_clang_comes_first_and_a_named_one_before(
    here: str, given: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clang.shutil, "which", lambda name: name if name in here.split() else None)
    monkeypatch.setenv(clang.VARIABLE, given)
    assert clang.find_clang() == expected


def test_a_named_clang_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(clang.VARIABLE, "/no/clang")
    with pytest.raises(PocketError, match="POCKETCL_CLANG names /no/clang"):
        kernel_counts.count_kernels(("rmsnorm",), "M1_D768", "mali")


def test_without_clang_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clang, "find_clang", lambda: None)
    with pytest.raises(PocketError) as error:
        kernel_counts.count_kernels(("gemv",), "", "mali")
    told = format_error(error.value)
    assert "apt-get install clang-14" in told and "POCKETCL_CLANG" in told


def test_kernels_and_classes_that_can_be_counted() -> None:
    every = kernel_counts.choose((), "", None)
    assert {each[0] for each in every} == {*WAVES}
    assert all({*each[2].classes} & {*WAVES} for each in every)
    assert {each[2].name for each in kernel_counts.choose(("gemv",), "N2048", "mali")} == {"gemv"}
    for names, case, device_class in (
        (("gem",), "", None),
        ((), "nothing", None),
        (("gemv_cpu",), "", None),
        ((), "", "cpu"),
    ):
        with pytest.raises(PocketError):
            kernel_counts.choose(names, case, device_class)


@pytest.mark.parametrize(
    ("names", "case", "device_class", "because", "hint"),
    [
        *(
            (("rope_kv_pairs",), case, "generic", "class 'generic' has no case", "adreno or mali")
            for case in ("", "nothing")
        ),
        (("gemv_cpu",), "nothing", None, "gemv_cpu is for CPUs", "--kernel"),
        (("gemv",), "nothing", "mali", "no case of gemv has 'nothing'", "--case"),
    ],
)
def test_why_nothing_can_be_counted(
    names: tuple[str, ...], case: str, device_class: str | None, because: str, hint: str
) -> None:
    with pytest.raises(PocketError, match=because) as error:
        kernel_counts.choose(names, case, device_class)
    assert hint in error.value.hint


def test_of_large_launches_some_groups_run() -> None:
    for _, family, kernel, case, knobs in kernel_counts.choose(("gemm",), "", "adreno"):
        groups = kernel_counts.groups_within(family, kernel, case, knobs)
        assert groups >= kernel_counts.FEWEST
    size, local = kernel.grid(case, knobs)
    assert KERNELS["gemm"] is kernel and np.prod(size) > np.prod(local)


def count(**others: Any) -> Count:
    issued = Issued(waves=4, instructions=400, multiply_adds=64, barriers=8)
    issued.loads[GLOBAL] = 4
    return Count(64, 2, 4, issued, others["traffic"], 512, 0, {})


def test_a_report_is_of_the_whole_launch() -> None:
    _, family, kernel, case, _ = kernel_counts.choose(("gemv",), "", "adreno")[0]
    names = ["sym", *(each.name for each in family.arguments(case))]
    buffers = Buffers({name: np.zeros(64, np.uint8) for name in names})
    buffers.traffic["w"].read[64] = case.N * case.K * 4 // 64 // 2
    buffers.traffic["w"].together[64] = 3
    found = kernel_counts.row(family, kernel, case, count(traffic=buffers.traffic))
    assert found["instructions"] == 400 * 64 * 2
    assert found["weight_lines_share"] == pytest.approx(1)
    assert found["barriers"] == 2 and found["group_line_bytes_64"] == 2 * 3 * 64
    rows = [{"class": "adreno", **found}, {"class": "adreno", **found, "weight_lines_share": None}]
    printed = "\n".join(kernel_counts.lines({"waves": {"adreno": 64}, "kernels": rows}))
    assert "waves of 64 of adreno" in printed and f"gemv {found['case']}" in printed


@pytest.mark.parametrize("more", [["--roofline", "a.svg"], ["--families"], ["--save", "a"]])
def test_counting_goes_with_kernels_only(more: list[str]) -> None:
    for options in (["--kernels", "--count", *more], ["--count"]):
        assert CliRunner().invoke(cli.cli, ["bench", *options]).exit_code == 2


@needs_clang
def test_the_command_counts() -> None:
    arguments = ["bench", "--kernels", "--count", "--kernel", "rmsnorm", "--class", "mali"]
    result = CliRunner().invoke(cli.cli, [*arguments, "--case", "M1_D768"])
    assert result.exit_code == 0, result.output
    assert "rmsnorm M1_D768" in result.output
