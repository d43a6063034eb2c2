"""What of the chosen tests a run runs, and in which order.

`--part K/N`: every Nth test, from the Kth on, so that N runs run each test once.
`--on-device`: those that launch kernels; the others say the same wherever they run.

The longest files go first: a worker takes a file at a time, and one that is begun last is what
everyone waits for.
"""

from __future__ import annotations

import pytest

LONGEST = (  # files, by seconds of a cold run
    *("test_elf", "test_arm64", "test_oclgrind", "test_node_cases", "test_fuzz", "test_soak"),
    *("test_any_decoder", "test_kernel_bench", "test_tuner", "test_exports", "test_end_to_end"),
    *("test_kernels", "test_lowered_ops", "test_sweep", "test_every_pass", "test_phone_run"),
    *("test_counts", "test_waves", "test_lowered_epilogues", "test_c_api", "test_quality"),
)


def add_option(parser: pytest.Parser) -> None:
    """Join --part and --on-device to the command line."""
    parser.addoption("--part", type=_part, metavar="K/N", help="Every Nth test, from the Kth on.")
    parser.addoption("--on-device", action="store_true", help="Only tests that launch kernels.")


def keep(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only the tests that the options leave."""
    kept = list(items)
    if config.getoption("--on-device"):
        kept = [item for item in kept if "queue" in getattr(item, "fixturenames", ())]
    first, count = config.getoption("--part") or (0, 1)
    kept = kept[first::count]
    left_out = set(items).difference(kept)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = kept


def sort(items: list[pytest.Item]) -> None:
    """The longest files first, each file's tests in their order."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def _part(text: str) -> tuple[int, int]:
    first, count = map(int, text.split("/"))
    if not 0 <= first < count:
        raise ValueError
    return first, count
