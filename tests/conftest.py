"""What holds for every test."""

import signal


def pytest_configure() -> None:
    """A test run in the background ignores SIGINT, which what it starts would inherit."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
