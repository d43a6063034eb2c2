"""`pocketcl bench --kernels`: every kernel at realistic sizes, next to what the device can do."""

import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from opencl_kernels import FAMILIES, KERNELS, Family, Kernel
from opencl_kernels.case import Case, case_id
from opencl_kernels.device_class import CLASSES
from opencl_kernels.family import kernels_for
from opencl_kernels.tuned import default_knobs, knobs_within
from toolkit.compiler.cost.work import share_names
from toolkit.errors import PocketError
from toolkit.nearest import unknown
from toolkit.toolchain.linker import check_linker


def bench_kernels(
    names: Sequence[str] = (),
    case: str = "",
    seconds: float = 0.3,
    progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Time kernels: those named, else all of the device's class; keys as in `--json`.

    case     only cases whose name contains this
    seconds  for how long each case is launched repeatedly, and as long again from a cache
    """
    from opencl_kernels.timing import Roof, Timer
    from toolkit.devices.features import device_features
    from toolkit.executors.opencl.device_choice import choose_device

    tell = progress or (lambda *_: None)
    timer = Timer(choose_device(), seconds)
    check_linker(timer.device.platform.name)
    device_class = timer.device_class.name
    wanted = choose(names, case, device_class, device_features(timer.device))
    # the device's rates are sampled first, then again between the launches of every case
    tell("the device's own rates")
    return measure(timer, Roof(timer), wanted, tell)


def measure(
    timer: Any,
    roof: Any,
    wanted: Sequence[tuple[Family, Kernel, Case]],
    tell: Callable[..., None],
) -> dict[str, Any]:
    """Time these kernels on these cases; keys as in `--json`."""
    rows, device_class = [], timer.device_class.name
    for done, (family, kernel, each) in enumerate(wanted):
        tell(f"{kernel.name} {case_id(each)}", done, len(wanted))
        knobs, marks = default_knobs(kernel, device_class), list[int]()

        def between(marks: list[int] = marks) -> None:
            marks.append(roof.samples)
            roof.sample()

        timed = timer.time(family, kernel, each, knobs, between)
        ends = [*marks[2:], roof.samples]  # of the samples behind each slice of the launches
        around = [roof.rates(*bounds) for bounds in zip(marks, ends, strict=False)]
        rows.append(_row(family, kernel, each, timed, around))
    rates = roof.rates()
    return {
        "device": timer.name,
        "class": device_class,
        "rates": {
            "read_gb_s": rates.read / 1e9,
            "read_spread": rates.read_spread,
            "multiply_add_gflop_s": rates.multiply_add / 1e9,
            "multiply_add_spread": rates.multiply_add_spread,
            "cache_bytes": timer.cache,
            "cached_gb_s": rates.cached and rates.cached / 1e9,
        },
        "kernels": rows,
    }


def choose(
    names: Sequence[str], case: str, device_class: str, features: Collection[str] = ()
) -> list[tuple[Family, Kernel, Case]]:
    """The kernels and cases asked for: without names, the best kernel of the class for each case.

    features  what the device has of what kernels require
    """
    for name in names:
        if name not in KERNELS:
            hint = "leave out --kernel to measure every kernel of this device"
            raise unknown(f"no kernel is called '{name}'", name, KERNELS, hint)
    known = list(_named(names) if names else _of_class(device_class, features))
    every = [each for each in known if not lacks(*each[1:], features)]
    if not every:
        kernel, missing = known[0][1], " and ".join(lacks(*known[0][1:], features))
        because = f"it needs {missing}, which the device lacks"
        hint = "leave out --kernel to measure every kernel of this device"
        raise PocketError(f"{kernel.name} cannot be measured here", because, hint)
    found = [each for each in every if case in case_id(each[2])]
    if not found:
        kernel = every[0][1]
        some = ", ".join(case_id(each) for _, of, each in every if of is kernel)
        hint = "give --case a part of one of these names, or leave it out"
        raise PocketError(f"no case has '{case}' in its name", f"{kernel.name} has {some}", hint)
    return found


def lacks(kernel: Kernel, case: Case, features: Collection[str]) -> list[str]:
    """What a kernel requires for a case, and the device hasn't."""
    name = kernel.classes[0]
    if knobs_within(kernel, case, name, features) is not None:
        return []
    needs = kernel.requires(case, default_knobs(kernel, name))
    return [each for each in needs.features if each not in features]


def _named(names: Sequence[str]) -> Iterator[tuple[Family, Kernel, Case]]:
    for family in FAMILIES.values():
        for kernel in (each for each in family.kernels if each.name in names):
            for case in family.bench_cases:
                if kernel.supports(case) is None:
                    yield family, kernel, case


def _of_class(
    device_class: str, features: Collection[str]
) -> Iterator[tuple[Family, Kernel, Case]]:
    for family in FAMILIES.values():
        if CLASSES[device_class].is_cpu and not any("cpu" in k.classes for k in family.kernels):
            continue  # of processors there is another way, in fewer launches
        best = [
            (next(k for k in found if not lacks(k, case, features)), case)
            for case in family.bench_cases
            if (found := kernels_for(family, device_class, case))
        ]
        for kernel, case in sorted(best, key=lambda each: family.kernels.index(each[0])):
            yield family, kernel, case


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    rates = figures["rates"]
    yield figures["device"]
    yield (  # a case whose activations stay in a cache can exceed the read rate
        f"it reads {rates['read_gb_s']:.1f} GB/s ± {rates['read_spread'] / 2:.0%} and does"
        f" {rates['multiply_add_gflop_s']:.0f} GFLOP/s ± {rates['multiply_add_spread'] / 2:.0%}"
        " of multiply-adds; shares are of these"
    )
    width = max(len(row["case"]) for row in figures["kernels"])
    name = ""
    for row in figures["kernels"]:
        if row["kernel"] != name:
            name = row["kernel"]
            yield name
        yield f"  {row['case']:<{width}}  {_figures(row)}"


def _figures(row: dict[str, Any]) -> str:
    return (
        f"{1e3 * row['seconds']:9.3f} ms ± {row['spread'] / 2:4.0%}"
        f"  {row['gb_s']:6.1f} GB/s {row['read_share']:4.0%}"
        f"  {row['gflop_s']:6.1f} GFLOP/s {row['multiply_add_share']:4.0%}"
    )


def _row(
    family: Family, kernel: Kernel, case: Case, timed: Any, around: Sequence[Any]
) -> dict[str, Any]:
    """A row of the report.

    Shares are medians over the slices of the launches, each by the rates sampled on both sides of
    it: so they stay what they are on a machine whose rates halve and double by the second.
    """
    nbytes, flops = family.work(case)
    seconds, pairs = timed.seconds, list(zip(timed.slices, around, strict=True))
    warm = list(zip(timed.warm, around, strict=False))  # where all comes from a cache
    # the time that the binding one of the two limits allows, over the measured time
    roof = [max(nbytes / of.read, flops / of.multiply_add) / each for each, of in pairs]
    return {
        "kernel": kernel.name,
        "case": case_id(case),
        "share_of": share_names(family, case)[0],
        "seconds": seconds,
        "spread": timed.spread,
        "launches": timed.launches,
        "copies": timed.copies,
        "bytes": int(nbytes),
        "flops": int(flops),
        "gb_s": nbytes / seconds / 1e9,
        "gflop_s": flops / seconds / 1e9,
        "read_share": statistics.median(nbytes / each / of.read for each, of in pairs),
        "multiply_add_share": _share_of_sums(flops, pairs),
        "roof_share": statistics.median(roof),
        "warm_seconds": statistics.median(timed.warm) if warm else None,
        "warm_multiply_add_share": _share_of_sums(flops, warm) if warm else None,
    }


def _share_of_sums(flops: float, slices: Sequence[tuple[float, Any]]) -> float:
    return statistics.median(flops / seconds / float(of.multiply_add) for seconds, of in slices)
