"""A line of the report of `pocketcl doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One line of the report; compile and run need every `needed` check to be ok."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True
