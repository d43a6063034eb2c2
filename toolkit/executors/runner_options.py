"""How a runner goes about its work: what a caller asks for, else what the environment says."""

import os

from toolkit.errors import PocketError

CHOICES = ("auto", "on", "off")
WORDS = {
    "recorded": CHOICES,
    "cooperative": CHOICES,
    "child_builds": CHOICES,
    "priority": ("low", "normal", "high"),
}


def runner_options(**given: str | None) -> list[str]:
    """Command-line options of the runner: of WORDS, those that are given or set in the environment.

    The environment's are passed on as options because a phone has another environment. With
    $POCKETCL_RETRY_BAD programs are tried again that the driver died of.
    """
    chosen = {name: _wish(name, given.get(name)) for name in WORDS}
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
