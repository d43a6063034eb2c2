"""`bench --kernels --families`: what a device reaches at typical shapes, within a budget of time.

The kernel that a class prefers and its plainest one, the last, take turns: A B A B. Copying is
sampled in between, a vendor's product of matrices before.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from opencl_kernels import FAMILIES, Family, Kernel
from opencl_kernels.case import Case, case_id
from opencl_kernels.device_class import CLASSES
from opencl_kernels.family import kernels_for
from opencl_kernels.tuned import knobs_within
from toolkit.bench.kernel_bench import lacks
from toolkit.devices.features import device_features
from toolkit.errors import PocketError
from toolkit.nearest import unknown
from toolkit.tables import table

SECONDS = 300
LONGEST = 3.0  # seconds of launches for a shape
FEWEST = 3  # launches of each kernel
INT4 = "we0m4e0m432f16u8"
# The most important first: what a family computes, and one of its bench_cases by name.
TYPICAL = (
    ("decode GEMV, int4", "gemv", f"M1_N2048_K2048_xf16_yf16_{INT4}"),
    ("prefill GEMM, int4", "gemm", f"M512_N2048_K5632_{INT4}_seq512"),
    (
        "decode attention",
        "attention_split",
        "M1_H32_G8_K128_C8192_kvf16_SCALE0088_SPLITS4_past8191",
    ),
    ("prefill attention", "attention_prefill", "M512_H12_G4_K64_C2048_SCALE0125_seq512_past1536"),
    ("few rows: 4, int4", "gemv", f"M4_N2048_K2048_xf16_yf16_{INT4}_seq4"),
    ("decode GEMV, f16", "gemv", "M1_N11264_K2048_wf16"),
    ("norm, decode", "add_rmsnorm", "M1_D2048_EPS1e05"),
    ("RoPE + KV, decode", "rope_kv", "M1_H12_G4_K64_C2048_R64_CTX2048_past511"),
    ("sampler: best", "sample_best", "last_rowsTrue_M1_V128256_C2048_GROUPS32_past511"),
    ("sampler: weights", "sample_weights", "last_rowsTrue_M1_V128256_C2048_GROUPS32_past511"),
    ("sampler: pick", "sample_pick", "last_rowsTrue_M1_V128256_C2048_GROUPS32_past511"),
    ("sampler, one launch", "sample", "last_rowsTrue_M1_V128256_C2048_past511"),
    ("few rows: 16, int4", "gemv", f"M16_N2048_K2048_xf16_yf16_{INT4}_seq16"),
    ("prefill GEMM, f16", "gemm", "M512_N2048_K5632_wf16_seq512"),
    ("norm, prefill", "add_rmsnorm", "M512_D2048_EPS1e05_seq512"),
    ("RoPE + KV, prefill", "rope_kv", "M512_H12_G4_K64_C2048_R64_CTX2048_seq512"),
    (
        "join attention",
        "attention_combine",
        "M1_H32_G8_K128_C8192_kvf16_SCALE0088_SPLITS4_past8191",
    ),
)


class Shape(NamedTuple):
    """What is measured."""

    device_class: str  # whose settings the kernels have
    what: str
    family: Family
    case: Case
    kernels: tuple[Kernel, ...]  # the preferred one and, if it is another, the plainest


def shapes(device_class: str, features: Sequence[str]) -> list[Shape]:
    """The typical shapes, with kernels that the device can run."""
    if device_class not in CLASSES:
        what = f"no class of devices is called '{device_class}'"
        raise unknown(what, device_class, CLASSES, "leave out --class for the device's own")
    found = []
    for what, name, case_name in TYPICAL:
        family = FAMILIES[name]
        case = next(each for each in family.bench_cases if case_id(each) == case_name)
        known = kernels_for(family, device_class, case)
        able = [kernel for kernel in known if not lacks(kernel, case, features)]
        found.append(Shape(device_class, what, family, case, (able[0], *able[1:][-1:])))
    return found


def bench_families(
    device_class: str | None = None,
    seconds: float = SECONDS,
    progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Measure the typical shapes; keys as in `--json`.

    device_class  whose kernels; by default what the device is: `cpu` or `generic`
    seconds       no shape is begun that may take longer; those left out are named
    """
    from opencl_kernels.timing import Copying, Roof, Timer
    from toolkit.bench.vendor_sgemm import vendor_sgemm
    from toolkit.executors.opencl.device_choice import choose_device
    from toolkit.toolchain.linker import check_linker

    end, tell = time.monotonic() + seconds, progress or (lambda *_: None)
    timer = Timer(choose_device(for_cpu=False))
    check_linker(timer.device.platform.name)
    chosen = device_class or timer.device_class.name
    todo = shapes(chosen, device_features(timer.device))
    tell("the device's own rates")
    roof, copying, sgemm = Roof(timer), Copying(timer), vendor_sgemm(timer)
    roof.sample()
    copying.sample()
    probe = roof.rates().multiply_add
    del roof
    peak, library = (sgemm.flop_s, sgemm.library) if sgemm else (probe, None)
    timer.seconds = min(LONGEST, seconds / len(todo) / 4)
    rows, left_out = _measure(timer, copying, peak, todo, end, tell)
    rate, spread = copying.rate()
    return {
        "device": timer.name,
        "class": chosen,
        "copy_gb_s": rate / 1e9,
        "copy_spread": spread,
        "multiply_add_gflop_s": probe / 1e9,
        "sgemm": library,
        "sgemm_gflop_s": sgemm.flop_s / 1e9 if sgemm else None,
        "sgemm_spread": sgemm.spread if sgemm else None,
        "families": rows,
        "left_out": left_out,
    }


def _measure(
    timer: Any, copying: Any, peak: float, todo: list[Shape], end: float, tell: Callable[..., None]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows of the report, and what is left out: for want of time, or as the driver fails."""
    from toolkit.executors.opencl.errors import opencl_errors

    rows, left_out, longest = [], [], timer.seconds
    for done, shape in enumerate(todo):
        start = time.monotonic()
        because = "" if start + longest < end else "no time was left"
        if not because:
            tell(shape.what, done, len(todo))
            try:
                with opencl_errors(f"{shape.what} can't be measured"):
                    rows.append(_row(timer, copying, peak, shape))
            except PocketError as error:
                because = (error.because or error.what).splitlines()[0]
            longest = max(longest, time.monotonic() - start)
        if because:
            left_out.append({"what": shape.what, "because": because})
    return rows, left_out


def _row(timer: Any, copying: Any, peak: float, shape: Shape) -> dict[str, Any]:
    from opencl_kernels.timing import timed

    mark = len(copying.seconds)
    copying.sample()
    rounds = _rounds(timer, shape)
    copying.sample()
    best, plain = timed([each[0] for each in rounds]), timed([each[-1] for each in rounds])
    gain = timed([each[-1] / each[0] for each in rounds])
    nbytes, flops = shape.family.work(shape.case)
    return {
        "what": shape.what,
        "case": case_id(shape.case),
        "kernel": shape.kernels[0].name,
        "seconds": best.seconds,
        "spread": best.spread,
        "launches": best.launches,
        "copy_share": nbytes / best.seconds / copying.rate(mark)[0],
        "arithmetic_share": flops / best.seconds / peak,
        "plain": shape.kernels[-1].name,
        "plain_seconds": plain.seconds,
        "plain_spread": plain.spread,
        "gain": gain.seconds,  # of neighbouring launches, the median
        "gain_spread": gain.spread,
    }


def _rounds(timer: Any, shape: Shape) -> list[list[float]]:
    """Seconds of the kernels, in turn; the first round comes in no figure."""
    launches, features = [], device_features(timer.device)
    for kernel in shape.kernels:
        knobs = knobs_within(kernel, shape.case, shape.device_class, features)
        assert knobs is not None, f"{kernel.name} needs what the device lacks"
        launches.append(timer.prepared(shape.family, kernel, shape.case, knobs)[0])
    rounds: list[list[float]] = []
    end = time.monotonic() + timer.seconds
    while len(rounds) <= FEWEST or time.monotonic() < end:
        rounds.append([launch(len(rounds)) for launch in launches])
    return rounds[1:]


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield f"{figures['device']}; kernels of class {figures['class']}"
    yield f"it copies {figures['copy_gb_s']:.1f} GB/s ± {figures['copy_spread'] / 2:.0%}"
    if figures["sgemm"]:
        yield (
            f"{figures['sgemm']} multiplies float32 matrices at {figures['sgemm_gflop_s']:.0f}"
            f" GFLOP/s ± {figures['sgemm_spread'] / 2:.0%}; shares of arithmetic are of that"
        )
    else:
        probe = f"{figures['multiply_add_gflop_s']:.0f} GFLOP/s"
        yield f"no vendor's sgemm found: shares of the arithmetic probe, {probe}"
    heads = (
        "",
        "kernel",
        "ms",
        "±",
        "of copy",
        "of arithmetic",
        "plainest",
        "ms",
        "±",
        "gain",
        "±",
    )
    yield from table([heads, *map(_cells, figures["families"])])
    for each in figures["left_out"]:
        yield f"left out: {each['what']}: {each['because']}"


def _cells(row: dict[str, Any]) -> Sequence[str]:
    best = (f"{1e3 * row['seconds']:.3f}", f"{row['spread'] / 2:.0%}")
    shares = (f"{row['copy_share']:.0%}", f"{row['arithmetic_share']:.0%}")
    if row["plain"] == row["kernel"]:
        return row["what"], row["kernel"], *best, *shares, "(the same)", "", "", "", ""
    plain = (row["plain"], f"{1e3 * row['plain_seconds']:.3f}", f"{row['plain_spread'] / 2:.0%}")
    gain = (f"{row['gain']:.2f} x", f"{row['gain_spread'] / 2:.0%}")
    return row["what"], row["kernel"], *best, *shares, *plain, *gain
