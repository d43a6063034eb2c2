"""The report of `pocketcl devices --probe` for people."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    device = figures["device"]
    yield f"{device['name']} ({device['platform']} {device['driver']}), profile {figures['class']}"
    for label, part, text in _rows(figures):
        fault = figures[part] if isinstance(figures[part], dict) else {}
        failed = f"failed: {fault.get('error')}: {fault.get('because')}"
        yield f"  {label:<14}{failed if 'error' in fault else text()}"
    yield from _flash_lines(figures["flash"])
    yield f"  {figures['seconds']:.1f} s"
    if figures["saved"]:
        yield f"kept in {figures['saved']}; --device takes its name"
    else:
        yield "not kept: --save NAME makes a profile of it"


def _rows(figures: Mapping[str, Any]) -> list[tuple[str, str, Callable[[], str]]]:
    def rate(part: str, key: str, unit: float, name: str) -> Callable[[], str]:
        return lambda: (
            f"{figures[part][key] / unit:,.1f} {name} ± {figures[part]['spread'] / 2:.0%}"
        )

    return [
        ("read", "read", rate("read", "bytes_per_s", 1e9, "GB/s")),
        ("fp32", "multiply_add_f32", rate("multiply_add_f32", "operations_per_s", 1e9, "GFLOP/s")),
        ("fp16", "multiply_add_f16", rate("multiply_add_f16", "operations_per_s", 1e9, "GFLOP/s")),
        ("launch", "launch", lambda: _launch(figures["launch"])),
        ("allocation", "allocation", lambda: _allocation(figures["allocation"])),
        ("sub-buffers", "alignment", lambda: _alignment(figures["alignment"])),
        ("host copies", "host", lambda: _host(figures["host"])),
        ("work-groups", "device", lambda: _limits(figures["device"])),
        ("cores", "cores", lambda: _cores(figures["cores"])),
    ]


def _launch(part: Mapping[str, float]) -> str:
    return (
        f"{part['queued_us']:.1f} µs in a queue of {part['batch']},"
        f" {part['finish_us']:.0f} µs alone with its finish; on all cores"
        f" {part['wake_us']:.0f} µs more,"
        f" {part['wait_us']:.0f} µs until the host has read and sent the next;"
        f" {part['handoff_us']:.1f} µs from thread to thread"
    )


def _allocation(part: Mapping[str, Any]) -> str:
    return (
        f"{part['largest_bytes'] / 1e9:.2f} GB at once ({part['largest_stopped']}),"
        f" {part['total_bytes'] / 1e9:.2f} GB in all ({part['total_stopped']})"
    )


def _alignment(part: Mapping[str, int]) -> str:
    return f"at multiples of {part['smallest_bytes']} bytes, {part['reported_bytes']} reported"


def _host(part: Mapping[str, Any]) -> str:
    shared = part["use_host_ptr"]
    if "error" in shared:
        pointer = f"fails: {shared['because']}"
    else:
        pointer = f"maps in {shared['map_us']:.0f} µs" if shared["right"] else "gives wrong values"
    write, read = (part[direction]["bytes_per_s"] / 1e9 for direction in ("write", "read"))
    size = part["bytes"] >> 20
    return f"to it {write:.1f} GB/s, from it {read:.1f}; {size} MiB of the host's: {pointer}"


def _limits(device: Mapping[str, Any]) -> str:
    features = ", ".join(device["features"]) or "none that kernels use"
    local = f"{device['local_memory_bytes'] >> 10} KiB of {device['local_memory_type']} memory each"
    shared = "memory shared with the host" if device["unified_memory"] else "memory of its own"
    return f"up to {device['max_work_group']} items, {local}; {shared}; {features}"


def _cores(cores: list[Mapping[str, Any]]) -> str:
    clocks: dict[Any, int] = {}
    for core in cores:
        clocks[core["max_mhz"]] = clocks.get(core["max_mhz"], 0) + 1
    named = [f"{n} at {mhz} MHz" if mhz else f"{n} of unknown clock" for mhz, n in clocks.items()]
    return ", ".join(named)


def _flash_lines(flash: Mapping[str, Any]) -> Iterator[str]:
    if "error" in flash:
        yield f"  {'flash':<14}failed: {flash['error']}: {flash['because']}"
        return
    how = (
        "past the page cache"
        if flash["direct"]
        else f"page cache emptied ({flash['why_not_direct']})"
    )
    yield f"  {'flash, MB/s':<14}reads of {flash['file_bytes'] >> 20} MiB, {how}; ± half the spread"
    columns = [(order, threads) for threads in (1, 4) for order in ("random", "sequential")]
    heads = [f"{order} ×{threads}" for order, threads in columns]
    yield f"    {'':>8}" + "".join(f"{head:>19}" for head in heads)
    for size in sorted({row["bytes"] for row in flash["reads"]}):
        found = {(r["order"], r["threads"]): r for r in flash["reads"] if r["bytes"] == size}
        cells = [
            f"{r['bytes_per_s'] / 1e6:,.0f} ± {r['spread'] / 2:.0%}"
            for r in map(found.get, columns)
            if r
        ]
        yield f"    {size >> 10:>4} KiB" + "".join(f"{cell:>19}" for cell in cells)
