"""The command line: each command calls one function of the module of its name.

Modules are imported inside the commands, so that `pocketcl --help` answers at once.
"""

import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

import click

from toolkit.cli import bench as cli_bench
from toolkit.cli import calibrate as cli_calibrate
from toolkit.cli import estimate as cli_estimate
from toolkit.cli import phone as cli_phone
from toolkit.cli import run as cli_run
from toolkit.cli import simulate as cli_simulate
from toolkit.cli.base import Commands, report, writer
from toolkit.cli.compile_options import GROUP, KEEP, LORA, SYMMETRIC, compile_options
from toolkit.cli.options import (
    COUNT,
    JSON,
    MODEL,
    SERIAL,
    Calibration,
    Memory,
    UserPath,
    on_option,
)
from toolkit.progress import PROGRESS
from toolkit.version import __version__

SPARSITIES = ("auto", "all", "gate", "lowrank", "dip", "dip-ca", "ids")
POLICIES = ("static", "lru", "lfu", "window", "importance")
ORDER = ("demo", "compile", "run", "chat", "verify", "eval", "bench", "tune", "estimate", "inspect")
START = """\b
Start here:
  pocketcl demo                             a story from the embedded model
  pocketcl compile llama/                   writes llama.plan, here
  pocketcl run llama.plan "Once upon a time"
"""


@click.group(cls=Commands, epilog=START, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pocketcl")
def cli() -> None:
    """Compile an ONNX model for a phone's GPU (OpenCL) and run it there, or here."""


@cli.command()
@on_option(None, "Where the plan runs.  [default: runner, if it can be built]")
@JSON
def demo(on: str | None, as_json: bool, serial: str | None = None) -> None:
    """Compile the embedded model, verify it, tell a story."""
    from toolkit.cli.demo import demo as run

    figures = run(writer(as_json), on, serial=serial, progress=PROGRESS)
    if as_json:
        report(figures, list, as_json)


@cli.command()
@click.option("--probe", is_flag=True, help="Measure the device instead.")
@click.option("--save", metavar="NAME", help="--probe: make a profile of it.")
@click.option("--on", type=click.Choice(["runner", "phone"]), help="--probe: which device.")
@SERIAL
@JSON
def devices(
    probe: bool, save: str | None, on: str | None, serial: str | None, as_json: bool
) -> None:
    """List OpenCL devices, phones and profiles, or measure a device."""
    if probe:
        from toolkit.devices.probe import probe as run
        from toolkit.devices.probe_report import lines as probe_lines

        where = on or ("phone" if serial else "runner")
        figures = run(where, serial, save, PROGRESS)
        return report(figures, lambda: probe_lines(figures), as_json)
    if save or on or serial:
        raise click.UsageError("--save, --on and --serial go with --probe.")
    from toolkit.devices.resolve import lines, overview

    found = overview()
    report(found, lambda: lines(found), as_json)


@cli.command()
@SERIAL
@JSON
def doctor(serial: str | None, as_json: bool) -> None:
    """Check what is missing here or on a phone, and how to install it."""
    from toolkit.cli.doctor import lines
    from toolkit.cli.doctor import report as run

    found = run(serial, PROGRESS)
    report(found, lambda: lines(found["checks"]), as_json)
    if not all(check["ok"] or not check["needed"] for check in found["checks"]):
        sys.exit(1)


@cli.command()
@click.argument("path", metavar="MODEL|PLAN", type=MODEL)
@click.option("--memory", "view", flag_value="memory", help="A plan: its memory layout.")
@click.option("--unsupported", "view", flag_value="unsupported", help="Nodes without a kernel.")
@click.option("--graph", "view", flag_value="graph", help="A model: its nodes after the passes.")
@click.option("--why", metavar="PASS", help="A model: why a pass's rules left nodes alone.")
@click.option("--quality", "view", flag_value="quality", help="The E0M4 error of each weight.")
@GROUP
@SYMMETRIC
@KEEP
@JSON
def inspect(
    path: Path,
    view: str | None,
    why: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show the parts of a model or a plan."""
    from toolkit.cli.inspection import inspect as run

    if view == "quality":
        from toolkit.evaluation.quality import lines as quality_lines
        from toolkit.evaluation.quality import quality

        costs = quality(path, progress=PROGRESS, **options)
        return report(costs, lambda: quality_lines(costs), as_json)
    if any(options.values()):
        raise click.UsageError("--group, --symmetric and --keep go with --quality.")
    figures, lines = run(path, view, why, PROGRESS)
    report(figures, lambda: lines, as_json)


@cli.command("compile")
@click.argument("src", type=MODEL)
@click.argument("more", metavar="", nargs=-1)
@click.option(
    "-o",
    "--out",
    metavar="PLAN",
    type=UserPath(),
    help="The folder to write; replaces a plan.  [default: NAME.plan, here]",
)
@click.option("--device", help="A profile, a SoC, or phone.  [default: the device here]")
@SERIAL
@compile_options()
@LORA
@click.option(
    "--memory",
    type=Memory(),
    metavar="BYTES|PERCENT",
    help="What the plan may take, as 3G or 50%: what has no room of FFNs is read from flash.",
)
@click.option(
    "--rate",
    type=float,
    metavar="TOKENS/S",
    help="Instead: the least memory in which so many are predicted, with --calibration.",
)
@click.option("--flash", help="--calibration: plan for ufs40, ufs31, …  [default: the device's]")
@click.option(
    "--sparsity",
    type=click.Choice(SPARSITIES),
    help="--memory: by what neurons or experts are chosen.  "
    "[default: auto, what is legal and reads least]",
)
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    help="--memory: which neurons stay in memory.  [default: as it is planned]",
)
@click.option("--density", type=float, help="--sparsity dip: share of FFNs that is computed.")
@click.option("--gamma", type=float, help="dip-ca: what counts of what isn't in memory.")
@click.option("--batch", type=COUNT, default=1, help="Texts that `eval --on host` scores at once.")
@click.option(
    "--calibrate",
    type=Calibration(exists=True, dir_okay=False),
    metavar="FILE|off",
    help="Text that shows which values need more than f16.  [default: our own]",
)
@click.option("--tuned/--no-tuned", default=True, help="Use knobs that `tune` found.")
@JSON
def compile_(
    src: Path,
    more: tuple[str, ...],
    out: Path | None,
    lora: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compile an .onnx file, or an exporter's folder, to a plan."""
    from toolkit.compiler.pipeline import compile as run
    from toolkit.compiler.report import compile_lines
    from toolkit.compiler.source import load_source
    from toolkit.estimate.memory import complaint_of
    from toolkit.progress import note_on_stderr

    if more:
        raise click.UsageError(f"The plan's folder is an option: compile {src} -o {more[0]}")
    of_quantized = any(options[name] for name in ("group", "symmetric", "keep"))
    if options["serial"] is not None and options["device"] != "phone":
        raise click.UsageError("--serial goes with --device phone.")
    if of_quantized and options["weights"] != "e0m4":
        raise click.UsageError("--group, --symmetric and --keep go with --weights e0m4.")
    done = run(load_source(src, lora), out, progress=PROGRESS, **options)
    figures = done.as_json()
    if warning := complaint_of(done.plan):
        figures["warning"] = warning
        note_on_stderr(f"warning: {warning}")
    report(figures, lambda: compile_lines(done.path, figures, named=out is not None), as_json)


@cli.command("help", hidden=True)
@click.argument("name", required=False)
@click.pass_context
def help_(ctx: click.Context, name: str | None) -> None:
    """The same as --help."""
    cli.main([*([name] if name else []), "--help"], prog_name=ctx.find_root().info_name)


for command in (
    *cli_run.COMMANDS,
    cli_bench.bench,
    cli_calibrate.calibrate,
    cli_estimate.estimate,
    cli_simulate.simulate,
    cli_phone.phone,
):
    cli.add_command(command)
cli.commands = {name: cli.commands[name] for name in (*ORDER, *cli.commands)}  # as help lists them


def main() -> None:
    """The entry point `pocketcl`."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # don't fail on a name that this terminal can't show
            cast(TextIOWrapper, stream).reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    cli()
