"""How a runner goes about its work: what a caller asks for, else what the environment says."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.executors.target import Target
from toolkit.plan.schema import ENGINES, Plan

CHOICES = ("auto", "on", "off")
WORDS = {
    "recorded": CHOICES,
    "cooperative": CHOICES,
    "child_builds": CHOICES,
    "overlap": ("cluster", "matrix", "off"),
    "engine": ENGINES,
    "priority": ("low", "normal", "high"),
}
OF_TABLES = ("overlap", "engine")  # those that say something of plans with weights in flash alone


def command_of(
    target: Target,
    path: Path,
    plan: Plan,
    platform: str | None,
    cache: Path | str | None,
    memory: int | None = None,
    **wishes: str | None,
) -> list[str]:
    """The runner's arguments for a plan, which is brought to where the runner is."""
    where = target.prepare(path, plan, memory)
    words = ["--platform", platform] if platform is not None else []
    known = [name for name in WORDS if plan.tables or name not in OF_TABLES]
    return [where, *target.options(cache), *words, *runner_options(known, **wishes)]


def words_of(options: Mapping[str, object]) -> list[str]:
    """The words of those that have a value."""
    return [word for name, value in options.items() if value for word in (name, str(value))]


def runner_options(known: Iterable[str] = WORDS, **given: str | None) -> list[str]:
    """Command-line options of the runner: of those that are known in WORDS the ones that are given
    or set in the environment.

    The environment's are passed on as options because a phone has another environment. With
    $POCKETCL_RETRY_BAD programs are tried again that the driver died of.
    """
    chosen = {name: _wish(name, given.get(name)) for name in known}
    options = [w for name, word in chosen.items() if word for w in (_option(name), word)]
    return options + ["--retry-bad"] * bool(os.environ.get("POCKETCL_RETRY_BAD"))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _wish(name: str, value: str | None) -> str | None:
    variable = f"POCKETCL_{name.upper()}"
    wish = value or os.environ.get(variable) or None
    if wish is not None and wish not in WORDS[name]:
        what = f"{name}={wish!r}" if value else f"{variable} is {wish!r}"
        *most, last = WORDS[name]
        because = f"it must be {', '.join(most)} or {last}"
        raise PocketError(what, because, f"unset {variable}, or set it so")
    return wish
