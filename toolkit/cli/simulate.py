"""The command that replays selectors and caches on a text without running the plan."""

from pathlib import Path
from typing import Any

import click

from toolkit.cli.base import report
from toolkit.cli.options import COUNT, FILE, JSON, MODEL, PLAN, Memories, UserPath
from toolkit.progress import PROGRESS

TEXT = UserPath(exists=True, dir_okay=False)


class Words(click.ParamType[list[str]]):
    """Names, separated by commas."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """`a,b` as a list, of one name at least."""
        found = value if isinstance(value, list) else [w for w in str(value).split(",") if w]
        if not found:
            self.fail(f"{value!r} names nothing", param, ctx)
        return found


@click.command()
@PLAN
@click.option("--text", type=TEXT, metavar="FILE", help="What the plan's model reads.")
@click.option("--trace", type=FILE, metavar="FILE", help="What `run --trace-access` has written.")
@click.option(
    "--memory",
    type=Memories(),
    metavar="LIST",
    help="What the plan may take, as 2G or 35%,50%.  [default: as compiled]",
)
@click.option(
    "--policy",
    type=Words(),
    metavar="LIST",
    help="static, lru, lfu, window, importance, belady.  [default: all]",
)
@click.option(
    "--selector",
    type=Words(),
    metavar="LIST",
    help="plan: as it selects; oracle: what isn't zero.  [default: plan]",
)
@click.option("--flash", metavar="PROFILE", help="Whose reads these are.  [default: the device's]")
@click.option("--tokens", type=COUNT, help="Of the text, at most.  [default: 1024]")
@click.option("--model", type=MODEL, metavar="SRC", help="The plan's model, if it has moved.")
@JSON
def simulate(plan: Path, memory: Any, as_json: bool, **options: Any) -> None:
    """Tell what caches of records would do with a text."""
    from toolkit.simulation.report import lines
    from toolkit.simulation.simulate import simulate as run

    memories = [memory] if isinstance(memory, str) else memory or []
    given = {name: value for name, value in options.items() if value is not None}
    figures = run(plan, memory=memories, progress=PROGRESS, **given)
    report(figures, lambda: lines(figures), as_json)
