"""The command that measures: plans here and on phones, kernels, and their counts."""

import sys
from pathlib import Path
from typing import Any

import click

from toolkit.cli.base import report
from toolkit.cli.options import (
    COUNT,
    ENGINE,
    FILE,
    JSON,
    ON,
    OVERLAP,
    RIVALS,
    Budgets,
    Counts,
    PlanPath,
    flash_options,
)
from toolkit.progress import PROGRESS


@click.command()
@click.argument("plan", required=False, type=PlanPath())
@click.option("--prompt-tokens", type=Counts(), metavar="1,64,512", help="Lengths of prompts.")
@click.option("--new-tokens", type=COUNT, default=64, show_default=True, help="After the last.")
@click.option("--repeats", type=COUNT, default=5, show_default=True)
@click.option("--compare", type=RIVALS, multiple=True, help="Run this in turn with the plan.")
@click.option("--trace", type=FILE, metavar="FILE.json", help="Timeline for a trace viewer.")
@click.option("--report", "page", type=FILE, metavar="FILE.html", help="A page with pictures.")
@click.option("--cool-to", type=float, metavar="°C", help="Cool down to this before each repeat.")
@click.option("--ui", is_flag=True, help="Also beside a client that draws every 16 ms: its waits.")
@flash_options("As with run; of several, a curve.", "BYTES|PERCENT,…", auto=True)
@OVERLAP
@ENGINE
@click.option("--ladder", type=click.Choice(["lif", "pi2"]), help="LLM in a flash, PowerInfer-2.")
@click.option("--dense", type=PlanPath(), help="--ladder: the same model without a budget.")
@click.option(
    "--budgets",
    type=Budgets(),
    metavar="100%,65%@ufs31,…",
    help="One run as memory, or the flash, changes, beside fresh ones.",
)
@ON
@click.option("--kernels", is_flag=True, help="Measure every kernel of this device instead.")
@click.option("--kernel", metavar="NAME", multiple=True, help="--kernels: this one.")
@click.option("--case", metavar="TEXT", default="", help="--kernels: cases with this in the name.")
@click.option("--roofline", type=FILE, metavar="FILE.svg", help="--kernels: a picture.")
@click.option("--save", metavar="NAME", help="--kernels: keep them in a profile, for estimate.")
@click.option("--families", is_flag=True, help="--kernels: each family, best and plainest kernel.")
@click.option("--count", is_flag=True, help="--kernels: instructions and lines, not seconds.")
@click.option("--class", "device_class", metavar="NAME", help="--families, --count: its kernels.")
@click.option("--seconds", type=COUNT, help="--families: at most so long.  [default: 300]")
@JSON
def bench(
    plan: Path | None,
    as_json: bool,
    kernels: bool,
    kernel: tuple[str, ...],
    case: str,
    roofline: Path | None,
    save: str | None,
    families: bool,
    count: bool,
    device_class: str | None,
    seconds: int | None,
    page: Path | None,
    **options: Any,
) -> None:
    """Measure how fast a plan or the kernels run: medians and their spread."""
    if (plan is None) != kernels:
        raise click.UsageError("Give either a PLAN or --kernels.")
    if save and not kernels:
        raise click.UsageError("--save goes with --kernels.")
    if families and (not kernels or kernel or case or roofline or save):
        raise click.UsageError("--families goes with --kernels, --class, --seconds and --json.")
    if count and (not kernels or families or roofline or save):
        raise click.UsageError("--count goes with --kernels, --kernel, --case, --class and --json.")
    if ((device_class and not count) or seconds) and not families:
        raise click.UsageError(
            "--class goes with --families or --count, --seconds with --families."
        )
    if page:
        from toolkit.bench.report.page import check_report

        if kernels:
            raise click.UsageError("--report goes with a PLAN; --kernels has --roofline.")
        check_report(page)
    if options["ui"] and (kernels or options.get("serial") == "all"):
        raise click.UsageError("--ui goes with a PLAN and one device.")
    if options["dense"] and options["ladder"] != "lif":
        raise click.UsageError("--dense goes with --ladder lif.")
    if options["budgets"]:
        return _bench_changes(plan, as_json, page, options)
    if options["ladder"]:
        return _bench_ladder(plan, as_json, page, options)
    if isinstance(options.get("memory"), list):
        return _bench_curve(plan, as_json, page, options)
    if plan and options.get("serial") == "all":
        return _bench_all(plan, as_json, page, options)
    if plan:
        return _bench_plan(plan, as_json, page, options)
    if options["on"] == "phone":
        raise click.UsageError("--kernels measures the device here.")
    if count:
        return _count_kernels(kernel, case, device_class, as_json)
    if families:
        return _bench_families(device_class, seconds, as_json)
    _bench_kernels(kernel, case, roofline, save, as_json)


def _bench_plan(plan: Path, as_json: bool, page: Path | None, options: dict[str, Any]) -> None:
    from toolkit.bench.plan_bench import bench as run
    from toolkit.bench.report.text import lines

    figures = run(plan, progress=PROGRESS, **options)
    _write_page(page, [figures])
    report(figures, lambda: lines(figures), as_json)


def _bench_changes(
    plan: Path | None, as_json: bool, page: Path | None, options: dict[str, Any]
) -> None:
    from toolkit.bench.flash.changes import lines
    from toolkit.bench.plan_bench import bench as run

    others = [page, options.pop("memory", None)]
    others += [options.pop(name) for name in ("compare", "trace", "cool_to", "ui", "ladder")]
    if plan is None or any(others) or options.get("serial") == "all":
        raise click.UsageError("--budgets goes with a PLAN, one device and --flash.")
    figures = run(plan, progress=PROGRESS, **options)
    report(figures, lambda: lines(figures), as_json)


def _bench_ladder(
    plan: Path | None, as_json: bool, page: Path | None, options: dict[str, Any]
) -> None:
    from toolkit.bench.flash.ladder_lines import lines as lif_lines
    from toolkit.bench.flash.pi2_lines import lines as pi2_lines
    from toolkit.bench.plan_bench import bench as run

    lines = {"lif": lif_lines, "pi2": pi2_lines}[options["ladder"]]
    others = [page, *(options.pop(name) for name in ("compare", "trace", "cool_to", "ui"))]
    several = isinstance(options.get("memory"), list)
    if plan is None or several or any(others) or options["on"] != "runner":
        raise click.UsageError("--ladder goes with a PLAN, --flash, one --memory and --dense.")
    if options.get("memory") == "auto":
        raise click.UsageError("--ladder needs a --memory that stays: BYTES or PERCENT, not auto.")
    figures = run(plan, progress=PROGRESS, **options)
    report(figures, lambda: lines(figures), as_json)


def _bench_curve(
    plan: Path | None, as_json: bool, page: Path | None, options: dict[str, Any]
) -> None:
    from toolkit.bench.flash.curve import lines
    from toolkit.bench.flash.page import write_curve
    from toolkit.bench.plan_bench import bench as run

    others = [options.pop(name) for name in ("compare", "trace", "cool_to", "ui")]
    others += [options.pop(name) for name in ("ladder", "dense")]
    if plan is None or any(others) or options.get("serial") == "all":
        raise click.UsageError("Several --memory go with a PLAN, one device, --flash and --report.")
    figures = run(plan, progress=PROGRESS, **options)
    if page:
        write_curve(page, figures)
    report(figures, lambda: lines(figures), as_json)


def _bench_families(device_class: str | None, seconds: int | None, as_json: bool) -> None:
    from toolkit.bench.family_bench import SECONDS, bench_families, lines

    figures = bench_families(device_class, seconds or SECONDS, PROGRESS)
    report(figures, lambda: lines(figures), as_json)


def _count_kernels(
    names: tuple[str, ...], case: str, device_class: str | None, as_json: bool
) -> None:
    from toolkit.bench.kernel_counts import count_kernels, lines

    figures = count_kernels(names, case, device_class, PROGRESS)
    report(figures, lambda: lines(figures), as_json)


def _bench_kernels(
    names: tuple[str, ...], case: str, roofline: Path | None, save: str | None, as_json: bool
) -> None:
    from toolkit.bench.kernel_bench import bench_kernels, lines
    from toolkit.bench.kernel_profile import save_profile
    from toolkit.bench.report.roofline import check_path, write_roofline
    from toolkit.devices.profiles import measured_file

    # raise for bad names before minutes of measuring
    if roofline:
        check_path(roofline)
    if save:
        measured_file(save)
    figures = bench_kernels(names, case, progress=PROGRESS)
    if roofline:
        write_roofline(roofline, figures)
    if save:
        figures["saved"] = str(save_profile(save, figures))
    report(figures, lambda: lines(figures), as_json)


def _write_page(page: Path | None, found: list[dict[str, Any]]) -> None:
    if page:
        from toolkit.bench.report.page import write_report

        write_report(page, found)


def _bench_all(plan: Path, as_json: bool, page: Path | None, options: dict[str, Any]) -> None:
    from toolkit.bench.phones import bench_all, lines

    found = bench_all(plan, progress=PROGRESS, **options)
    _write_page(page, found)
    report(found, lambda: lines(found), as_json)
    if any("error" in figures for figures in found):
        sys.exit(1)
