"""Which knobs win, on times made up."""

from typing import Any

import pytest

from opencl_kernels import KERNELS, family_of
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At, Case
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.tuned import default_knobs
from toolkit.compiler.lowering.kernel_case import KernelCase
from toolkit.executors.spans import Span
from toolkit.plan.expr import symbol
from toolkit.tuning.candidate import seconds_of
from toolkit.tuning.choice import (
    WHOLE,
    Compared,
    best,
    candidates,
    compare,
    per_step,
    stages,
    verdict,
)
from toolkit.tuning.report import judged


def kernel_case(name: str, case: Case) -> KernelCase:
    return KernelCase(family_of(name), KERNELS[name], case)


GEMV = kernel_case("gemv_cpu", Product(M=1, N=64, K=64))
GEMM = kernel_case("gemm_cpu", Product(M=symbol("seq"), N=64, K=64))
SITE = GEMV.site
USUAL = default_knobs(GEMV.kernel, "cpu")


def rounds(*decode: float, prefill: float | None = None, whole: float = 10.0) -> list[Any]:
    """Rounds in which the site took so many seconds of a decode step."""
    found: list[dict[Any, float]] = []
    for seconds in decode:
        found.append({(SITE, "decode"): seconds, (WHOLE, "decode"): whole})
        if prefill is not None:
            found[-1] |= {(SITE, "prefill 8"): prefill, (WHOLE, "prefill 8"): whole}
    return found


def test_the_ratio_is_the_median_over_neighbouring_rounds() -> None:
    found = compare([2.0, 4.0, 3.0], [1.0, 4.0, 2.0])
    assert (found.ratio, found.low, found.high) == (1.5, 1.0, 2.0)
    assert compare([3.0], [2.0]) == Compared(1.5, 1.5, 1.5, 0.0)


@pytest.mark.parametrize(
    "before, after, better",
    [
        ([1.05] * 5, [1.0] * 5, True),
        ([1.02] * 5, [1.0] * 5, False),  # inside the margin
        ([1.0] * 5, [1.0] * 5, False),
        ([0.9] * 5, [1.0] * 5, False),
        ([0.8, 0.9, 1.1, 1.3, 1.4], [1.0] * 5, False),  # inside the spread
        ([0.5, 1.2, 1.2, 1.2, 1.2], [1.0] * 5, True),  # one round that was disturbed
    ],
)
def test_a_gain_is_beyond_margin_and_spread(
    before: list[float], after: list[float], better: bool
) -> None:
    assert compare(before, after).better is better


def test_a_gain_in_one_step_must_not_cost_another() -> None:
    gain = Compared(1.2, 1.1, 1.3, 0.01)
    same, loss = Compared(0.9, 0.5, 1.3, 0.4), Compared(0.9, 0.8, 1.0, 0.05)
    assert verdict({"decode": gain, "prefill 8": same}) == ("decode", gain)
    assert verdict({"decode": gain, "prefill 8": loss}) is None
    assert verdict({"decode": same}) is None and verdict({}) is None
    more = Compared(1.5, 1.4, 1.6, 0.01)
    assert verdict({"decode": gain, "prefill 8": more}) == ("prefill 8", more)


def test_the_fastest_trial_wins() -> None:
    before = rounds(1.0, 1.0, 1.0)
    slow, fast = {**USUAL, "PREFETCH": 0}, {**USUAL, "PREFETCH": 16}
    tried = [
        ({SITE: slow}, before, rounds(0.9, 0.9, 0.9)),
        ({SITE: fast}, before, rounds(0.8, 0.8, 0.8)),
        ({SITE: {**USUAL, "PREFETCH": 64}}, before, []),  # could not be loaded
    ]
    assert best(SITE, tried) == fast
    assert best(SITE, [({SITE: slow}, before, rounds(0.99, 0.99, 0.99))]) is None


def test_what_takes_no_time_is_left_alone() -> None:
    before, after = rounds(1.0, 1.0, whole=200.0), rounds(0.5, 0.5, whole=200.0)
    assert per_step(SITE, before, after) == {}
    assert list(per_step(SITE, rounds(1.0, prefill=0.01), rounds(1.0, prefill=1.0))) == ["decode"]


def test_a_kernel_that_did_not_run_was_not_measured() -> None:
    """The portable variant ran in its place."""
    assert per_step(SITE, rounds(1.0, 1.0), [{(WHOLE, "decode"): 0.1}] * 2) == {}


def test_one_trial_takes_a_value_of_every_kernel() -> None:
    kernel_cases = {each.site: each for each in (GEMV, GEMM)}
    now: Any = {site: default_knobs(each.kernel, "cpu") for site, each in kernel_cases.items()}
    tried = list(candidates(kernel_cases, now, 0, "cpu", 0))
    assert [each[SITE]["WORKERS"] for each in tried] == [2, 3, 4, 16]
    assert [each[GEMM.site]["WORKERS"] for each in tried] == [3, 4, 16, 8]  # then as before
    assert stages(kernel_cases) == len(KERNELS["gemm_cpu"].knobs)


def test_a_value_that_changes_nothing_is_not_tried() -> None:
    """A slice of K longer than K."""
    now: Any = {GEMM.site: default_knobs(GEMM.kernel, "cpu")}
    depth = list(GEMM.kernel.knobs).index("KC")
    assert list(candidates({GEMM.site: GEMM}, now, depth, "cpu", 0)) == []


def test_a_value_that_finds_no_room_is_not_tried() -> None:
    heads = Heads(M=1, H=8, G=1, K=256, C=64, SCALE=0.1, at=At(seq=1))
    prefill = kernel_case("attention_prefill", heads)
    now: Any = {prefill.site: {"WG": 64, "KEYS": 64, "QROWS": 4}}
    number = list(prefill.kernel.knobs).index("QROWS")
    for room, values in ((1 << 20, [8, 2]), (16384, [2]), (0, [])):
        tried = candidates({prefill.site: prefill}, now, number, "generic", room)
        assert [each[prefill.site]["QROWS"] for each in tried] == values


def test_the_report_keeps_what_wins_again() -> None:
    choice: Any = {SITE: {**USUAL, "PREFETCH": 16}}

    def changed(site: Any, knobs: Any) -> dict[str, int]:
        return {name: value for name, value in knobs.items() if value != USUAL[name]}

    before = rounds(1.0, 1.0, 1.0, prefill=4.0)
    figures, won = judged(choice, before, rounds(0.8, 0.8, 0.8, prefill=4.0), changed)
    row = figures["kernels"][0]
    assert won == {SITE} and figures["tuned"] == 1
    assert (row["step"], row["knobs"], row["ratio"]) == ("decode", {"PREFETCH": 16}, 1.25)
    figures, won = judged(choice, before, before, changed)
    row = figures["kernels"][0]
    assert won == set() and figures["tuned"] == 0
    assert (row["step"], row["default_s"], row["knobs"], row["ratio"]) == (
        "prefill 8",
        4.0,
        {},
        None,
    )


def span(run: int, name: str, microseconds: int, kernel: str = "gemv_cpu") -> Span:
    start = 1_000_000 * run + 10_000 * int(name)
    return Span(run, "decode", name, kernel, start, start, start, start + 1000 * microseconds)


def test_a_disturbed_dispatch_does_not_count() -> None:
    """Two runs of three layers; of a fourth dispatch nothing ran, a fifth fell back."""
    layout: Any = {"decode": [(str(n), SITE, n + 1) for n in range(5)]}
    runs = [
        [span(0, "0", 5), span(0, "1", 900), span(0, "2", 4), span(0, "4", 9, "gemv")],
        [span(1, "0", 5), span(1, "1", 5), span(1, "2", 6), span(1, "4", 9, "gemv")],
    ]
    found = seconds_of(runs, layout)
    assert found[SITE] == pytest.approx(3 * 5e-6)
    assert set(found) == {SITE, WHOLE}


def test_a_gather_launches_its_dispatches_again_and_again() -> None:
    """1 and 2 are inside of one; of 2 nothing ran the second time."""
    other = ("gemv_cpu", "N2")
    layout: Any = {
        "decode": [("0", SITE, 1), ("1", other, 1), ("2", None, 1), ("3", other, 4), ("4", SITE, 5)]
    }
    names = ["0", "1", "2", "1", "1", "2", "3", "4"]
    times = [5, 10, 1, 20, 30, 1, 40, 7]
    runs = [[span(0, *each) for each in zip(names, times, strict=True)]]
    found = seconds_of(runs, layout)
    assert found[other] == pytest.approx(4 * 25e-6)
    assert found[SITE] == pytest.approx(2 * 6e-6)
