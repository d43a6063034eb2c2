"""What happens to tests that this machine can't run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ALL = bool(os.environ.get("POCKETCL_NEED_ALL"))  # where every tool must be there, as in CI
# Our exports, beside the checkout of those who have them.
COLLECTION = Path(__file__).resolve().parents[3] / "shared/models"


def absent(reason: str) -> NoReturn:
    """Skip a test; fail it where every tool must be there."""
    if ALL:
        pytest.fail(reason)
    pytest.skip(reason)


def needs(found: object, reason: str) -> pytest.MarkDecorator:
    """Marks tests that are skipped without a tool. Where it must be there, they run, and fail."""
    return pytest.mark.skipif(not found and not ALL, reason=reason)


def here(path: Path) -> Path:
    """What tests read of the collection; they are skipped where there is no collection."""
    if not path.exists() and not COLLECTION.exists():
        pytest.skip(f"{COLLECTION} is not here")
    assert path.exists(), f"{path} is not in the collection"
    return path
