"""The command that predicts what a model costs on a device."""

from pathlib import Path
from typing import Any

import click

from toolkit.cli.base import report
from toolkit.cli.compile_options import compile_options
from toolkit.cli.options import COUNT, FILE, JSON, MODEL, SERIAL, Memories
from toolkit.progress import PROGRESS


@click.command()
@click.argument("path", metavar="SRC|PLAN", type=MODEL)
@click.option("--device", help="A profile or a SoC.  [default: the plan's, or the device here]")
@SERIAL
@click.option("--prompt-tokens", type=COUNT, metavar="N", help="[default: 512]")
@click.option(
    "--memory",
    type=Memories(),
    metavar="BYTES|PERCENT,…",
    help="What the device gives, or with weights in flash: budgets.  [default: as it is known]",
)
@click.option("--flash", help="Weights lie in ufs40, ufs31, …  [default: the device's]")
@click.option("--svg", type=FILE, metavar="FILE.svg", help="A picture.")
@click.option("--html", type=FILE, metavar="FILE.html", help="A page with pictures.")
@compile_options("SRC: ")
@JSON
def estimate(
    path: Path, svg: Path | None, html: Path | None, as_json: bool, **options: Any
) -> None:
    """Predict rates and memory of a model on a device that is not at hand."""
    from toolkit.estimate.estimate import estimate as run
    from toolkit.estimate.page import check_pictures, write_pictures
    from toolkit.estimate.report import lines

    if options["serial"] is not None and options["device"] != "phone":
        raise click.UsageError("--serial goes with --device phone.")
    check_pictures(svg, html)
    figures = run(path, progress=PROGRESS, **options)
    write_pictures(svg, html, figures)
    report(figures, lambda: lines(figures), as_json)
