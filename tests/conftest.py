"""Options of the test run."""

from __future__ import annotations

import signal

import pytest

LONGEST = "test_arm64.py"  # one device for all of its tests, minutes of compiling


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, beside the others instead of behind them."""
    items.sort(key=lambda item: item.path.name != LONGEST)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write golden files anew.")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def pytest_configure() -> None:
    """A test run in the background ignores SIGINT, which what it starts would inherit."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
