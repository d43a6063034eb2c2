"""A calibration on disk: NAME.calibration/ with calibration.json and a file for each layer.

Layers are written as they are finished, so that a run that was ended goes on where it was. What it
was made of stands in calibration.json from the start: another model or text begins anew. In the end
the hash of each layer's file stands there, too: its losses are those of just these files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from opencl_kernels.formats import Array
from toolkit.errors import PocketError
from toolkit.files import replacing, write_text
from toolkit.predictors.layer import Layer

FORMAT = 1
FACTS, LAYERS, ROUNDS = "calibration.json", "layer.*.npz", "points.*.json"
REFITS = "refit.*.npy"  # what is added to last matrices: by density and layer
AGAIN = "make it again: pocketcl calibrate MODEL --text FILE"
SHAPELESS = (ValueError, KeyError, TypeError)  # of what isn't built as it should be


@dataclass(frozen=True)
class Folder:
    """A folder for the calibration of one model by one text."""

    path: Path

    def begin(
        self, made_of: Mapping[str, Any], suits: Callable[[Layer], bool] = lambda _: True
    ) -> int:
        """How many layers of just this calibration are there; those of another one are removed.

        suits  whether a layer has all that is kept of it now: older versions kept less

        Raises PocketError where the folder is something else.
        """
        facts = self._facts() if self.path.exists() else None
        if facts is None and self.path.exists() and any(self.path.iterdir()):
            because = "it is no calibration, which would replace all that is in it"
            raise PocketError(f"{self.path} exists", because, "choose another -o")
        same = facts is not None and facts.get("made_of") == dict(made_of)
        count = 0
        told = facts["layers"] if facts and _is_whole(facts) else []
        while same and self._is_sound(count, told, suits):
            count += 1
        self.path.mkdir(parents=True, exist_ok=True)
        for file in self.path.glob(LAYERS):
            if file not in map(self._file, range(count)):
                file.unlink()
        for file in self.path.glob(ROUNDS) if not same else ():
            file.unlink()
        for file in self.path.glob(REFITS):
            file.unlink()
        self.write({"made_of": dict(made_of), "finished": False})
        return count

    def write(self, facts: Mapping[str, Any]) -> None:
        """Replace what calibration.json says."""
        with _written(self.path / FACTS):
            write_text(self.path / FACTS, json.dumps({"format": FORMAT, **facts}, indent=1) + "\n")

    def add(self, number: int, layer: Layer) -> None:
        """A finished layer."""
        with _written(self._file(number)):
            layer.save(self._file(number))

    def layer(self, number: int) -> Layer:
        """One of those that are there. Raises PocketError where its file is damaged."""
        file = self._file(number)
        try:
            return Layer.load(file)
        except (OSError, EOFError, *SHAPELESS, BadZipFile) as error:
            raise PocketError(f"{file} is damaged", error, AGAIN) from None

    def add_round(self, number: int, points: Sequence[Mapping[str, Any]]) -> None:
        """Some finished operating points."""
        file = self._round_file(number)
        with _written(file):
            write_text(file, json.dumps(list(points), indent=1) + "\n")

    def round(self, number: int) -> list[dict[str, Any]]:
        """Those of before; none where they aren't there."""
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(self._round_file(number).read_text())
            if isinstance(found, list) and all(isinstance(each, dict) for each in found):
                return found
        return []

    def add_refit(self, number: int, density: float, added_FD: Array) -> None:
        """What is added to a layer's last matrix where its network is computed in part."""
        file = self._refit_file(number, density)
        with _written(file), replacing(file) as stream:
            np.save(stream, added_FD)

    def refit(self, number: int, density: float) -> Array:
        """The same, float16 [F, D], read as it is looked at. Raises PocketError where it isn't."""
        file = self._refit_file(number, density)
        try:
            found: Array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise PocketError(f"{file} is damaged", error, AGAIN) from None
        return found

    def drop_refits(self, density: float) -> None:
        """Those of this density, of all layers."""
        for file in self.path.glob(self._refit_file(0, density).name.replace(".000.", ".*.")):
            file.unlink()

    def refit_digest(self, number: int, density: float) -> str:
        """The hash of such a file."""
        return _digest(self._refit_file(number, density))

    def digest(self, number: int) -> str:
        """The hash of a layer's file."""
        return _digest(self._file(number))

    def identity(self) -> str:
        """The hash of all files. Raises unless they are those that the losses are of."""
        facts = self.finished()
        told = [(self._file(n), layer["sha256"]) for n, layer in enumerate(facts["layers"])]
        for each in facts.get("refits", ()):
            density, hashes = each["density"], each["sha256"]
            told += [(self._refit_file(n, density), h) for n, h in enumerate(hashes)]
        for file, digest in told:
            if _digest(file) != digest:
                because = f"{FACTS} was written for another one"
                raise PocketError(f"{file} was changed", because, AGAIN)
        return hashlib.sha256("".join(digest for _, digest in told).encode()).hexdigest()

    def finished(self) -> dict[str, Any]:
        """calibration.json. Raises PocketError where there is no finished calibration."""
        facts = self._facts()
        if facts is None:
            raise PocketError(f"{self.path} is no calibration", f"it has no sound {FACTS}", AGAIN)
        if not facts.get("finished"):
            because = "its calibration was ended before"
            raise PocketError(f"{self.path} is not finished", because, "run it again: it goes on")
        if not _is_whole(facts):
            because = "values are missing in it, or of other types"
            raise PocketError(f"{self.path / FACTS} is damaged", because, AGAIN)
        return facts

    def finished_for(self, model: str, of: str, hint: str) -> dict[str, Any]:
        """The same, of this model. Raises PocketError where it was made for another one.

        model  SHA-256, `of` it: whose it is, in words; `hint`: what leads on
        """
        facts = self.finished()
        found = facts["made_of"]["model_sha256"]
        if found != model:
            because = f"SHA-256 of its model: {found[:12]}…, of {of}: {model[:12]}…"
            raise PocketError(f"{self.path} was made for another model", because, hint)
        return facts

    def _is_sound(
        self, number: int, told: Sequence[Mapping[str, Any]], suits: Callable[[Layer], bool]
    ) -> bool:
        """Whether a layer is there, complete, and the one that was told of."""
        with suppress(PocketError):
            if not suits(self.layer(number)):
                return False
            return number >= len(told) or self.digest(number) == told[number]["sha256"]
        return False

    def _facts(self) -> dict[str, Any] | None:
        with suppress(OSError, ValueError, RecursionError):
            facts = json.loads((self.path / FACTS).read_text())
            if isinstance(facts, dict) and facts.get("format") == FORMAT:
                return facts
        return None

    def _round_file(self, number: int) -> Path:
        return self.path / ROUNDS.replace("*", f"{number:03}")

    def _refit_file(self, number: int, density: float) -> Path:
        return self.path / REFITS.replace("*", f"{round(1000 * density):04}.{number:03}")

    def _file(self, number: int) -> Path:
        return self.path / LAYERS.replace("*", f"{number:03}")


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise PocketError(f"{file} is damaged", error, AGAIN) from None


@contextmanager
def _written(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "see to its space and permissions, and run it again: it goes on"
        raise PocketError(f"{file} can't be written", error, hint) from None


def _is_whole(facts: Mapping[str, Any]) -> bool:
    """Whether all is there that a compile reads."""
    with suppress(*SHAPELESS):
        words = [facts["made_of"]["model_sha256"], *(e["sha256"] for e in facts["layers"])]
        numbers = [p[name] for p in facts["points"] for name in ("recall", "density", "loss")]
        names = ("density", "gamma", "loss", "missed")  # older calibrations have none
        numbers += [p[name] for p in facts.get("dip", ()) for name in names]
        words += [p["selector"] for p in facts.get("dip", ())]
        numbers += [p[name] for p in facts.get("refitted", ()) for name in names]
        numbers += [each["density"] for each in facts.get("refits", ())]
        words += [word for each in facts.get("refits", ()) for word in each["sha256"]]
        sound = [isinstance(n, int | float) for n in numbers] + [isinstance(w, str) for w in words]
        return all(sound)
    return False
