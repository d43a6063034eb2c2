"""`bench --kernels`: which kernels and cases, the shares, and the picture."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from opencl_kernels import FAMILIES, KERNELS, Kernel
from opencl_kernels.attention.heads import Heads, visible
from opencl_kernels.case import At, Case
from opencl_kernels.device_class import CLASSES
from opencl_kernels.layouts import F16
from opencl_kernels.timing import Rates, Timed
from opencl_kernels.tuned import default_knobs
from toolkit.bench.kernel_bench import bench_kernels, choose, lines, measure
from toolkit.bench.kernel_profile import save_profile
from toolkit.bench.report.roofline import check_path, write_roofline
from toolkit.compiler.cost.predicted import seconds_of
from toolkit.compiler.cost.rates import rates_of
from toolkit.compiler.cost.work import Work
from toolkit.devices.profiles import profiles
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
    launched = [
        family
        for family in FAMILIES.values()
        if device_class != "cpu" or any("cpu" in kernel.classes for kernel in family.kernels)
    ]
    cases = sum(len(family.bench_cases) for family in launched)
    assert len(bare) == len(full) == cases
    halves = {kernel.name for _, kernel, case in full if _needs(kernel, case)}
    products = {"gemm_half", "gemm_half_q8", "gemm_half_f16", "gemv_half", "gemv_pair_half"}
    assert halves == (set() if device_class == "cpu" else products)


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
        assert (each["warm_seconds"] is None) == (each["warm_multiply_add_share"] is None)
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


def reached(key: str, seconds: float, read: float, multiply_add: float) -> dict[str, Any]:
    shares = {"read_share": read, "multiply_add_share": multiply_add}
    warm = {"warm_seconds": None, "warm_multiply_add_share": None}
    return {"share_of": key, "seconds": seconds, **shares, **warm}


def test_measured_shares_are_kept_in_a_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of each limit what the cases that meet it do in all their time; another run adds to them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    rows = [reached("gemv f32", 3.0, 0.6, 0.005), reached("gemv f32", 1.0, 0.2, 0.005)]
    rows += [reached("gemv f32", 1.0, 0.1, 0.75), reached("gemm f32", 1.0, 0.1, 0.8)]
    rates = {"read_gb_s": 10.0, "multiply_add_gflop_s": 200.0}
    figures = {"device": "a CPU", "class": "cpu", "rates": rates, "kernels": rows}
    save_profile("box", figures)
    save_profile("box", {**figures, "kernels": [reached("gemm f32", 1.0, 0.1, 0.4)]})
    found = profiles()["box"]
    assert found["kernels"]["gemv f32"] == {"bandwidth": 0.5, "arithmetic": 0.75}
    assert found["kernels"]["gemm f32"] == {"arithmetic": 0.4}
    limits = rates_of("box", found, profiles())
    assert limits.read.value == 10e9 and "bench --kernels" in limits.read.source
    assert limits.arithmetic.value == pytest.approx(200e9)
    assert limits.share("gemv f32", "gemv").bandwidth == 0.5


def test_shares_stay_where_another_run_finds_other_rates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    slow, fast = (
        {"read_gb_s": read, "multiply_add_gflop_s": 200.0 * read / 10} for read in (10.0, 20.0)
    )
    figures = {"device": "a CPU", "class": "cpu", "rates": slow}
    save_profile("box", {**figures, "kernels": [reached("gemv f32", 1.0, 0.6, 0.005)]})
    again = {"rates": fast, "kernels": [reached("gemm f32", 1.0, 0.1, 0.4)]}
    save_profile("box", figures | again)
    found = profiles()["box"]
    assert found["kernels"]["gemv f32"] == {"bandwidth": 0.6}
    assert found["kernels"]["gemm f32"] == {"arithmetic": 0.4}
    assert rates_of("box", found, profiles()).read.value == 20e9


@pytest.mark.parametrize("seconds", [5 / 3, 5 / 4, 1.001, 0.9])
def test_what_comes_from_a_cache_tells_the_other_limit(
    seconds: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that both together give the time that was measured, and one the other."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    moved, operations = 1e9, 2e9
    read, arithmetic, reached_share = 10e9, 200e9, moved / seconds / 10e9
    row = reached("gemv e0m4", seconds, reached_share, operations / seconds / arithmetic)
    row |= {"warm_seconds": 1.0, "warm_multiply_add_share": operations / arithmetic}
    rates = {"read_gb_s": read / 1e9, "multiply_add_gflop_s": arithmetic / 1e9}
    rates |= {"cache_bytes": 32 << 20, "cached_gb_s": 1e6}
    save_profile("box", {"device": "a CPU", "class": "cpu", "rates": rates, "kernels": [row]})
    limits = rates_of("box", profiles()["box"], profiles())
    work = Work("gemv", ("gemv e0m4", "gemv"), int(moved), int(operations))
    assert seconds_of(work, limits) == pytest.approx(max(1.0, seconds), rel=0.06)
    assert seconds_of(work, limits, resident=True) == pytest.approx(1.0, rel=1e-3)


def test_what_only_moves_tells_nothing_of_arithmetic(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A share of 0 would make the whole profile unusable."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    row = reached("unpack e0m4", 1.0, 0.1, 0.0)
    row |= {"warm_seconds": 0.9, "warm_multiply_add_share": 0.0}
    rates = {"read_gb_s": 10.0, "multiply_add_gflop_s": 100.0}
    save_profile("box", {"device": "a CPU", "class": "cpu", "rates": rates, "kernels": [row]})
    assert profiles()["box"]["kernels"]["unpack e0m4"].keys() == {"bandwidth", "soft"}
    assert rates_of("box", profiles()["box"], profiles()).share("unpack e0m4").bandwidth > 0


class Machine:
    """A timer and a roof of one machine: how fast it is in each slice of the launches."""

    device_class = CLASSES["cpu"]
    name = "a machine"
    cache = 0

    def __init__(self, *speeds: float) -> None:
        self.speeds, self.taken = speeds, list[float]()

    def time(self, family: Any, kernel: Any, case: Case, knobs: Any, between: Any) -> Timed:
        """A kernel that reaches half of what the machine reads."""
        slices = []
        for speed in self.speeds:
            between()
            slices.append(family.work(case)[0] / (0.5e9 * speed))
        between()
        return Timed(sorted(slices)[len(slices) // 2], 0.0, len(slices), 1, tuple(slices))

    @property
    def samples(self) -> int:
        """Each is one launch."""
        return len(self.taken)

    def sample(self) -> None:
        """Rates of the slice that follows, the last one's behind it."""
        self.taken.append(self.speeds[min(self.samples, len(self.speeds) - 1)])

    def rates(self, since: int = 0, until: int | None = None) -> Rates:
        """The least of the samples."""
        least = min(self.taken[since:until])
        return Rates(1e9 * least, 1e12 * least, 0.0, 0.0)


def test_shares_are_of_the_rates_around_the_launches() -> None:
    """Though the machine is half as fast in most of the run as in the end."""
    machine = Machine(1.0, 1.0, 1.0, 2.0, 2.0)
    wanted = choose(("rmsnorm_cpu",), "", "cpu")[:1]
    (found,) = measure(machine, machine, wanted, lambda *_: None)["kernels"]
    assert found["read_share"] == pytest.approx(0.5)
    assert found["roof_share"] == pytest.approx(0.5)


@pytest.mark.parametrize("window", [0, 5])
@pytest.mark.parametrize("seq, past, texts", [(1, 0, 1), (1, 9, 2), (7, 3, 1), (4, 8, 2)])
def test_the_work_of_attention_is_that_of_visible_keys(
    window: int, seq: int, past: int, texts: int
) -> None:
    at = At(seq=seq, past=past, start=(0,) * texts)
    case = Heads(M=seq * texts, H=4, G=2, K=8, C=32, B=texts, WINDOW=window, at=at)
    seen = [(b, range(first, end)) for _, b, first, end in visible(case)]
    moved, operations = FAMILIES["attention_prefill"].work(case)
    assert operations == 4 * 4 * 8 * sum(len(keys) for _, keys in seen)
    kept = {(b, key) for b, keys in seen for key in keys}
    q_and_y = 2 * 4 * case.M * case.H * case.K
    assert moved == q_and_y + len(kept) * 2 * 4 * case.G * case.K
