"""A search that a lost cable or a budget ends goes on where it was, and erases nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_tuning import Fake, likes_16

from toolkit.phone.adb import Gone
from toolkit.plan.schema import Plan
from toolkit.tuning.back_end import Here
from toolkit.tuning.journal import Journal
from toolkit.tuning.tuner import tune

pytestmark = pytest.mark.usefixtures("own_cache")


class Cable(Here):
    """A back end as a phone's, with a cable that is lost after so many plans were loaded."""

    together = 1

    def __init__(self, journal: Path, lost_after: int | None = None) -> None:
        super().__init__(self.load)
        self.file, self.lost_after = journal, lost_after
        self.loaded = self.held = self.most = 0

    def load(self, path: Path, on: str, **options: Any) -> Fake:
        if self.loaded == self.lost_after:
            raise Gone("the phone is gone", "its cable was pulled", "plug it in")
        self.loaded, self.held = self.loaded + 1, self.held + 1
        self.most = max(self.most, self.held)
        back_end = self

        class Counted(Fake):
            def close(self) -> None:
                back_end.held -= 1

        return Counted(path, likes_16)

    def journal(self, path: Path, plan: Plan, *asked: Any) -> Journal:
        return Journal(self.file)


def tune_gemv(plan: Path, back_end: Cable, **options: Any) -> dict[str, Any]:
    return tune(plan, kernels=["gemv_cpu"], repeats=1, back_end=back_end, **options)


@pytest.mark.parametrize(
    ("lost_after", "again_loaded"),
    [
        pytest.param(6, 0, marks=pytest.mark.slow),  # between two candidates
        (7, 1),  # the plan that waited for its candidate
        pytest.param(
            8, 1, marks=pytest.mark.slow
        ),  # a knob is done: to write its table, the device must be known
    ],
)
def test_a_lost_cable_loses_only_its_batch(
    lost_after: int, again_loaded: int, plan: Path, own_cache: Path, tmp_path: Path
) -> None:
    whole = Cable(tmp_path / "whole.json")
    expected = tune_gemv(plan, whole)
    assert expected["complete"] and expected["tuned"] and whole.most == 2 and whole.held == 0
    assert not whole.file.exists()
    table = json.loads(own_cache.read_text())["kernels"]
    own_cache.unlink()
    lost = Cable(tmp_path / "journal.json", lost_after=lost_after)
    with pytest.raises(Gone):
        tune_gemv(plan, lost)
    assert lost.file.exists() and lost.held == 0
    again = Cable(lost.file)
    found = tune_gemv(plan, again)
    assert found["kernels"] == expected["kernels"] and found["complete"]
    assert json.loads(own_cache.read_text())["kernels"] == table
    assert lost.loaded + again.loaded == whole.loaded + again_loaded
    assert not again.file.exists()


def test_a_budget_ends_the_search(plan: Path, own_cache: Path, tmp_path: Path) -> None:
    none = Cable(tmp_path / "journal.json")
    found = tune_gemv(plan, none, budget=0)
    assert not found["complete"] and found["tuned"] == 0 and none.file.exists()
    found = tune_gemv(plan, Cable(none.file))
    assert found["complete"] and found["tuned"] > 0


def test_a_budget_erases_nothing(plan: Path, own_cache: Path, tmp_path: Path) -> None:
    tune_gemv(plan, Cable(tmp_path / "first.json"))
    before = own_cache.read_bytes()
    tune_gemv(plan, Cable(tmp_path / "second.json"), budget=0)
    assert own_cache.read_bytes() == before


def test_a_damaged_journal_is_as_none(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"format": 1}', '{"format": 1, "batches": 3}'):
        (tmp_path / "journal.json").write_text(text)
        assert Journal(tmp_path / "journal.json").find("knob 1", []) is None
