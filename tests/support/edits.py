"""Changes of a plan as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ABSENT = object()


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one key: "phases.0.steps.1.queue"."""

    def change(plan: dict[str, Any]) -> None:
        *steps, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        at: Any = plan
        for step in steps:
            at = at[step]
        if value is ABSENT:
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(value)
        else:
            at[last] = value

    return change


def both(*changes: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """One change after the other."""

    def change(plan: dict[str, Any]) -> None:
        for each in changes:
            each(plan)

    return change
