"""The command that predicts what a model costs on a device."""

from pathlib import Path
from typing import Any

import click

from toolkit.cli.base import report
from toolkit.cli.options import (
    COUNT,
    F32_OR_F16,
    FILE,
    GROUP,
    JSON,
    KEEP,
    MODEL,
    SERIAL,
    SYMMETRIC,
    WEIGHTS,
    Memories,
    UserPath,
)
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
@click.option(
    "--calibration",
    type=UserPath(exists=True, file_okay=False),
    metavar="DIR",
    help="With weights in flash: how neurons are needed.",
)
@click.option("--max-loss", metavar="1%", help="SRC: as compile's.")
@click.option("--flash", help="Weights lie in ufs40, ufs31, …  [default: the device's]")
@click.option("--svg", type=FILE, metavar="FILE.svg", help="A picture.")
@click.option("--html", type=FILE, metavar="FILE.html", help="A page with pictures.")
@WEIGHTS
@GROUP
@SYMMETRIC
@KEEP
@click.option("--max-context", type=COUNT, help="SRC: tokens.  [default: as compile's]")
@click.option("--prefill-chunk", type=COUNT, help="SRC: tokens of one prefill step at most.")
@click.option("--activations", type=F32_OR_F16, help="SRC: between steps.")
@click.option("--kv", type=F32_OR_F16, help="SRC: the KV cache.")
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
