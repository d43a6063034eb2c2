"""What a profile tells: numbers that are checked, and where they come from."""

from collections.abc import Callable, Mapping
from typing import Any

from toolkit.devices.match import Profile
from toolkit.errors import PocketError


def number(name: str, facts: Profile, key: str) -> float | None:
    """A figure of a profile, None where it has none; raises where it is no number above zero."""
    if facts.get(key) is None:
        return None
    value = positive(facts, key)
    if value is None:
        raise fault(facts, name, f"its {key} is {facts[key]!r:.60}")
    return value


def positive(facts: Mapping[str, Any], key: str) -> float | None:
    """The value of a key if it is a number above zero."""
    value: Any = facts.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 1e12 else None


def fault(facts: Profile, name: str, because: str) -> PocketError:
    """The error for a profile with a figure that is none."""
    hint = "set it to a number above zero"
    return PocketError(f"device '{name}' in {facts['from']} is not usable", because, hint)


def source_of(facts: Profile, key: str) -> str:
    """Where a figure of a profile comes from, in words."""
    named = facts.get("source", "no source")
    if isinstance(named, Mapping):
        named = named.get(key, named.get("rest", "no source"))
    return _spelled(str(named))


def _spelled(source: str) -> str:
    """As devices.yaml marks it: E an estimate, F a formula, S a place."""
    kind, _, rest = source.partition(" ")
    named: dict[str, Callable[[str], str]] = {
        "E": lambda rest: f"recalled, not looked up {rest}".strip(),
        "E;": lambda _: "recalled, not looked up",
        "E:": lambda rest: f"recalled: {rest}",
        "F": lambda _: "by formula",
        "S": lambda rest: rest,
    }
    return named[kind](rest) if kind in named else source
