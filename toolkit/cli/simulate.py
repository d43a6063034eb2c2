"""The command that replays selectors and caches on a text without running the plan."""

from pathlib import Path
from typing import Any

import click

from toolkit.cli.base import report
from toolkit.cli.options import COUNT, FILE, JSON, MODEL, Memories, UserPath
from toolkit.progress import PROGRESS

TEXT = UserPath(exists=True, dir_okay=False)
# What makes sense for one of the two kinds of subjects only.
OF_PLANS = ("trace", "selector", "model")
OF_MODELS = ("grid", "sparsity", "density", "gamma", "weights", "refit", "exchanged", "page")

NAMED = {"page": "report", "exchanged": "exchange"}


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
@click.argument("path", metavar="PLAN|SRC", type=MODEL)
@click.option("--text", type=TEXT, metavar="FILE", help="What the model reads.")
@click.option("--trace", type=FILE, metavar="FILE", help="PLAN: what `--trace-access` has written.")
@click.option(
    "--memory",
    type=Memories(),
    metavar="LIST",
    help="PLAN: what it may take, as 2G or 35%,50%; SRC: shares of its networks.",
)
@click.option(
    "--policy",
    type=Words(),
    metavar="LIST",
    help="static, lru, lfu; PLAN: window, window:K, importance, belady, too; all by default.",
)
@click.option(
    "--selector",
    type=Words(),
    metavar="LIST",
    help="PLAN: as it selects (plan), or what isn't zero (oracle).  [default: plan]",
)
@click.option(
    "--flash", metavar="PROFILE", help="Whose reads these are.  [default: the device's; SRC: a18]"
)
@click.option("--tokens", type=COUNT, help="Of the text, at most.  [default: PLAN 1024, SRC 4096]")
@click.option("--model", type=MODEL, metavar="SRC", help="PLAN: its model, if it has moved.")
@click.option(
    "--sparsity",
    type=Words(),
    metavar="LIST",
    help="SRC: dip, dip-ca, uniform, cats, glu, lowrank, static.  [default: dip, dip-ca]",
)
@click.option("--density", type=Words(), metavar="LIST", help="SRC: as .5,.7 or .5:.9.")
@click.option("--gamma", type=Words(), metavar="LIST", help="SRC: as 1,.5,.2; of dip-ca.")
@click.option("--grid", metavar="WORDS", help='SRC: all of them, as "density=.5:.9 memory=.3,.5".')
@click.option("--weights", type=click.Choice(["e0m4", "f16", "f32"]), help="SRC: as they lie.")
@click.option(
    "--refit", is_flag=True, default=None, help="SRC: dip with W_d fitted to the rest, too."
)
@click.option(
    "--exchange", "exchanged", is_flag=True, default=None, help="SRC: dip with a density by layer."
)
@click.option("--report", "page", type=FILE, metavar="FILE.html", help="SRC: a page with pictures.")
@JSON
def simulate(path: Path, as_json: bool, **options: Any) -> None:
    """Tell what caches of records would do with a text, or what leaving out weights costs.

    Of a PLAN: its own gathers, by policies and budgets. Of a model (SRC): its networks with parts
    left out, perplexity and reads of each density, gamma, share of memory and policy.
    """
    from toolkit.paths import PLAN_FILE

    given = {name: value for name, value in options.items() if value is not None}
    of_plan = (path / PLAN_FILE).is_file()
    for name in OF_MODELS if of_plan else OF_PLANS:
        if name in given:
            kind = "a model, not a plan" if of_plan else "a plan, not a model"
            raise click.UsageError(f"--{NAMED.get(name, name)} goes with {kind}.")
    (_plan if of_plan else _model)(path, as_json, given)


def _plan(path: Path, as_json: bool, given: dict[str, Any]) -> None:
    from toolkit.simulation.report import lines
    from toolkit.simulation.simulate import simulate as run

    memory = given.pop("memory", [])
    figures = run(
        path, memory=[memory] if isinstance(memory, str) else memory, progress=PROGRESS, **given
    )
    report(figures, lambda: lines(figures), as_json)


def _model(path: Path, as_json: bool, given: dict[str, Any]) -> None:
    from toolkit.simulation.sparse.page import check_report, write_report
    from toolkit.simulation.sparse.report import lines
    from toolkit.simulation.sparse.simulate import simulate_model

    if "text" not in given:
        raise click.UsageError("--text FILE is what the model reads; none is given.")
    page = given.pop("page", None)
    check_report(page)
    options: dict[str, Any] = {
        name: ",".join(v) if isinstance(v, list) else v for name, v in given.items()
    }
    figures = simulate_model(path, progress=PROGRESS, **options)
    if page is not None:
        write_report(page, figures)
    report(figures, lambda: lines(figures), as_json)
