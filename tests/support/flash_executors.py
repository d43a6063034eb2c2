"""Executors of the toy whose weights lie in flash, and what they must answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_toy import FlashToy

from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
MEMORIES = (98_000, 150_000, 200_000, None)
Opened = Callable[..., Any]


@pytest.fixture
def flash(tmp_path: Path) -> FlashToy:
    return FlashToy(tmp_path / "flash toy")


@pytest.fixture(params=["host", "runner"])
def opened(request: pytest.FixtureRequest, flash: FlashToy, cache: Path) -> Iterator[Opened]:
    """Opens executors of the toy and closes them."""
    with contextlib.ExitStack() as closing:

        def open_one(**options: Any) -> Any:
            if request.param == "host":
                found: Any = HostExecutor(flash.folder, **options)
            else:
                found = RunnerExecutor(flash.folder, ("score",), cache=cache, **options)
            closing.callback(found.close)
            return found

        yield open_one


def is_right(executor: Any, toy: FlashToy, count: int = 9) -> None:
    """Prefill in chunks, a forced step, decoding, a rewind and scores."""
    first = executor.prefill(IDS, 0)
    np.testing.assert_allclose(executor.logits(), toy.logits(IDS)[-1], rtol=1e-4, atol=1e-3)
    assert list(executor.decode(first, len(IDS), count, ())) == toy.continued([*IDS, first], count)
    assert executor.step(7, 4) == toy.next([*IDS[:4], 7])
    scores = executor.score(IDS, 0)
    np.testing.assert_allclose(scores, toy.logits(IDS), rtol=1e-4, atol=1e-3)
