"""What was measured before a run of the tuner ended early, so that the next one goes on there."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit import files as atomic
from toolkit.errors import PocketError
from toolkit.tuning.candidate_plan import Choice
from toolkit.tuning.choice import Round

FORMAT = 1


class Journal:
    """Rounds by what was compared; written whole after each batch.

    The search is the same for the same rounds, so that they are all that it needs to go on.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file, if there is one; an unreadable one costs only time."""
        self.path, self._known = path, dict[str, Any]()
        try:
            body = json.loads(path.read_text(encoding="utf-8")) if path else {}
            if isinstance(body, dict) and body.get("format") == FORMAT:
                self._known = dict(body["batches"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def find(self, what: str, choices: Sequence[Choice]) -> list[list[Round]] | None:
        """The rounds of each choice, if these were measured together."""
        found = self._known.get(_key(what, choices))
        return None if found is None else [[_round(r) for r in rounds] for rounds in found]

    def note(self, what: str, choices: Sequence[Choice], found: Sequence[Sequence[Round]]) -> None:
        """Keep the rounds of each choice."""
        rows = [[[[*site, step, s] for (site, step), s in r.items()] for r in f] for f in found]
        self._known[_key(what, choices)] = rows
        if self.path:
            text = json.dumps({"format": FORMAT, "batches": self._known})
            try:
                atomic.write_text(self.path, text)
            except OSError as error:
                hint = "check permissions and space"
                raise PocketError(f"cannot write {self.path}", error, hint) from None

    def done(self) -> None:
        """The search is complete: the next one measures afresh."""
        if self.path:
            self.path.unlink(missing_ok=True)


def _key(what: str, choices: Sequence[Choice]) -> str:
    named = [sorted([*s, sorted(k.items())] for s, k in each.items()) for each in choices]
    return json.dumps([what, named])


def _round(rows: Sequence[Sequence[Any]]) -> Round:
    return {((name, shape), step): seconds for name, shape, step, seconds in rows}
