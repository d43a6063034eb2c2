"""What a table of edits of plan.json is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edits import ABSENT


@dataclass(frozen=True)
class PlanEdit:
    """A value for a key of plan.json ("phases.0.steps"), and which path is damaged by it."""

    key: str
    value: Any
    reason: str
    damaged: str = ""  # the path of keys; empty: the edited one

    @property
    def path(self) -> str:
        """As both loaders write it: phases[0].steps."""
        if self.damaged:
            return self.damaged
        first, *rest = self.key.split(".")
        return first + "".join(f"[{k}]" if k.isdigit() else f".{k}" for k in rest)

    def __str__(self) -> str:
        value = "absent" if self.value is ABSENT else repr(self.value)[:20]
        return f"{self.key}={value}"


def bad(key: str, value: Any, reason: str, damaged: str = "") -> PlanEdit:
    """A plan that is refused."""
    return PlanEdit(key, value, reason, damaged)
