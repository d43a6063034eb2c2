"""README.md's table of published and predicted rates says what `estimate` says today."""

from pathlib import Path

import pytest
from published_rates import ROWS, Published, predicted, renewed

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
RENEW = "python tests/support/published_rates.py README.md"
SMALL = next(row for row in ROWS if row.shape == "qwen3-0.6b")


def row_of(row: Published) -> str:
    """The row's line in README.md."""
    (line,) = (line for line in README.splitlines() if line.startswith(row.head))
    return line


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.engine} {row.model}")
def test_every_published_row_is_told(row: Published) -> None:
    assert row_of(row).count(" / ") == 2


def test_rows_of_one_model_say_the_same() -> None:
    told: dict[tuple[str, str], set[str]] = {}
    for row in ROWS:
        told.setdefault((row.shape, row.device), set()).add(row_of(row).removeprefix(row.head))
    assert all(len(lines) == 1 for lines in told.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", {row.shape: row for row in ROWS}.values(), ids=lambda row: row.shape
)
def test_predictions_are_todays(row: Published, tmp_path: Path) -> None:
    assert row_of(row) == f"{row.head} {predicted(row, tmp_path)} |", RENEW


def test_a_table_is_renewed_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("published_rates.predicted", lambda row, folder: "1 / 2.0")
    text = f"before\n{SMALL.head} 3 / 4.0 |\nafter"
    assert list(renewed(text, tmp_path)) == ["before", f"{SMALL.head} 1 / 2.0 |", "after"]
