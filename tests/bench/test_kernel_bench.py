"""`bench --kernels`: which kernels and cases, the shares, and the picture."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from opencl_kernels import FAMILIES, KERNELS, Kernel
from opencl_kernels.case import Case
from opencl_kernels.device_class import CLASSES
from opencl_kernels.layouts import F16
from opencl_kernels.tuned import default_knobs
from toolkit.bench.kernel_bench import bench_kernels, choose, lines
from toolkit.bench.report.roofline import check_path, write_roofline
from toolkit.errors import PocketError


def row(kernel: str, flops: int, seconds: float) -> dict[str, Any]:
    return {
        "kernel": kernel,
        "case": "M1",
        "flops": flops,
        "bytes": 1000,
        "gflop_s": flops / seconds / 1e9,
        "roof_share": 0.5,
    }


def test_families_are_timed_at_sizes_that_they_take() -> None:
    for family in FAMILIES.values():
        assert family.bench_cases
        for case in family.bench_cases:
            nbytes, flops = family.work(case)
            assert nbytes > 0 and flops >= 0
            if hasattr(case, "C"):
                assert case.symbols.past + case.symbols.seq <= case.C


def test_kernels_of_a_class_or_by_name() -> None:
    everything = choose((), "", "cpu")
    assert {kernel.name for _, kernel, _ in everything} == {
        name for name, kernel in KERNELS.items() if "cpu" in kernel.classes
    }
    assert {kernel.name for _, kernel, _ in choose(("gemm",), "", "cpu")} == {"gemm"}
    assert all(case.w == F16 for _, _, case in choose(("gemv_cpu",), "wf16", "cpu"))
    with pytest.raises(PocketError, match="no kernel is called 'gem'"):
        choose(("gem",), "", "cpu")
    with pytest.raises(PocketError, match="no case has"):
        choose((), "nothing", "cpu")


@pytest.mark.parametrize("device_class", CLASSES)
def test_every_class_has_the_best_that_the_device_can_run(device_class: str) -> None:
    """One kernel for each case; where it lacks what that needs, the next."""
    bare = choose((), "", device_class)
    full = choose((), "", device_class, ["fp16", "subgroups"])
    assert not any(_needs(kernel, case) for _, kernel, case in bare)
    cases = sum(len(family.bench_cases) for family in FAMILIES.values())
    assert len(bare) == len(full) == cases
    halves = {kernel.name for _, kernel, case in full if _needs(kernel, case)}
    assert halves == (set() if device_class == "cpu" else {"gemv_half"})


def _needs(kernel: Kernel, case: Case) -> tuple[str, ...]:
    return kernel.requires(case, default_knobs(kernel, kernel.classes[0])).features


def test_a_kernel_that_the_device_cannot_run_is_refused() -> None:
    with pytest.raises(PocketError, match="gemv_half cannot be measured here"):
        choose(("gemv_half",), "", "adreno")
    assert choose(("gemv_half",), "", "adreno", ["fp16"])


@pytest.mark.slow
def test_figures_of_a_kernel() -> None:
    figures = bench_kernels(("rmsnorm_cpu", "rope_kv"), seconds=0.01)
    assert {"device", "class", "rates", "kernels"} == set(figures)
    assert figures["rates"]["read_gb_s"] > 0 and figures["rates"]["multiply_add_gflop_s"] > 0
    for each in figures["kernels"]:
        assert each["launches"] >= 5 and each["seconds"] > 0
        assert each["read_share"] > 0 and each["multiply_add_share"] > 0
        assert each["roof_share"] >= max(each["read_share"], each["multiply_add_share"]) * 0.999
    text = "\n".join(lines(figures))
    assert "GFLOP/s" in text and "rope_kv" in text
    json.dumps(figures)


def test_the_picture_has_a_mark_with_a_name_for_each_case(tmp_path: Path) -> None:
    names = [f"kernel_{number}" for number in range(10)]
    rows = [row(name, 10 ** (2 + number % 4), 1e-6) for number, name in enumerate(names)]
    rates = {"read_gb_s": 20.0, "multiply_add_gflop_s": 300.0}
    figures = {"device": "a <device>", "rates": rates, "kernels": [*rows, row("copy", 0, 1e-6)]}
    write_roofline(tmp_path / "roof.svg", figures)
    picture = ElementTree.parse(tmp_path / "roof.svg").getroot()
    tag = "{http://www.w3.org/2000/svg}"
    titles = [title.text or "" for title in picture.iter(f"{tag}title")]
    assert [title.split()[0] for title in titles] == names
    width, height = (float(v) for v in picture.attrib["viewBox"].split()[2:])
    (line,) = picture.iter(f"{tag}polyline")
    for point in line.attrib["points"].split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= width and 0 <= y <= height


def test_only_svg_and_only_where_there_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(PocketError, match=r"roof\.png"):
        check_path(tmp_path / "roof.png")
    with pytest.raises(PocketError, match="cannot be written"):
        check_path(tmp_path / "none" / "roof.svg")
    with pytest.raises(PocketError, match="nothing to draw"):
        write_roofline(tmp_path / "roof.svg", {"kernels": [row("copy", 0, 1e-6)]})
