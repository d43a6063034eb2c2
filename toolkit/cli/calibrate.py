"""The command that measures which neurons of a model a text needs."""

from pathlib import Path

import click

from toolkit.cli.base import report
from toolkit.cli.compile_options import LORA
from toolkit.cli.options import COUNT, JSON, MODEL, UserPath
from toolkit.progress import PROGRESS


@click.command()
@click.argument("src", type=MODEL)
@click.option(
    "--text",
    type=UserPath(exists=True, dir_okay=False),
    required=True,
    metavar="FILE",
    help="What the model reads, in its own language.",
)
@click.option(
    "-o",
    "--out",
    type=UserPath(),
    metavar="DIR",
    help="The folder to write; one that was begun goes on.  [default: NAME.calibration, here]",
)
@click.option("--tokens", type=COUNT, default=16384, show_default=True, help="At most.")
@click.option(
    "--refit", is_flag=True, help="Fit last matrices to what DIP leaves out, where that costs less."
)
@LORA
@JSON
def calibrate(
    src: Path,
    text: Path,
    out: Path | None,
    tokens: int,
    refit: bool,
    lora: Path | None,
    as_json: bool,
) -> None:
    """Measure which neurons a text needs, and learn to predict them."""
    from toolkit.calibration.calibrate import calibrate as run
    from toolkit.calibration.report import lines
    from toolkit.compiler.source import load_source
    from toolkit.foreign.find_model import plan_name

    source = load_source(src, lora)
    folder = out or Path(plan_name(source.onnx_path)).with_suffix(".calibration")
    facts = run(source, text, folder, tokens, PROGRESS, refit)
    report(facts, lambda: lines(folder, facts), as_json)
