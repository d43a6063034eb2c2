"""A line of the report of `pocketcl doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One line of the report; `needed` ones must be ok for compile and run."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True
