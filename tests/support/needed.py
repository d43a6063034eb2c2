"""What happens to tests that this machine can't run."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skip a test; fail it where $POCKETCL_NEED_PHONE says that a phone must be there (CI)."""
    if os.environ.get("POCKETCL_NEED_PHONE"):
        pytest.fail(reason)
    pytest.skip(reason)
