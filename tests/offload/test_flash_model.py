"""Seconds of reads against what the papers measured, and tables between their sizes."""

import numpy as np
import pytest

from toolkit.errors import PocketError
from toolkit.offload.flash_model import FLASHES, Flash, flash

KB = 1024
PROFILE = Flash(
    "measured",
    table={
        "random": ((4 * KB, 0.9e9), (64 * KB, 2.5e9), (512 * KB, 3.4e9)),
        "sequential": ((4 * KB, 1.1e9), (512 * KB, 3.9e9)),
    },
)


def rate(name: str, size: int) -> float:
    """GB/s of reads of this size."""
    return float(size / flash(name).seconds(size) / 1e9)


@pytest.mark.parametrize(
    "name, size, gbs, tolerance",
    [
        ("ufs40", 4 * KB, 1.0, 0.01),  # 4 KB random inside of 128 MB
        ("ufs40", 512 * KB, 3.5, 0.01),
        ("m1max", 16 * KB, 1.25, 0.01),  # records of fp16 OPT-6.7B
        ("m1max", 32 * KB, 2.25, 0.08),  # the line through 16 KiB and the most has 2.08
        ("m1max", 1 << 30, 6.1, 0.01),
        ("ufs31", 1 << 30, 2.0, 0.01),
        ("ufs21", 1 << 30, 0.5, 0.01),
        ("a18", 4 * KB, 1.0, 1e-9),
        ("a18", 1 << 30, 1.0, 1e-9),
    ],
)
def test_presets_have_the_rates_of_their_sources(
    name: str, size: int, gbs: float, tolerance: float
) -> None:
    assert rate(name, size) == pytest.approx(gbs, rel=tolerance)


@pytest.mark.parametrize("name, gap", [("ufs40", 8192), ("m1max", 61440), ("a18", 0)])
def test_a_gap_is_whole_pages_that_cost_less_than_another_read(name: str, gap: int) -> None:
    assert flash(name).gap == gap


@pytest.mark.parametrize("model", [*FLASHES, PROFILE], ids=lambda model: model.name)
def test_reading_the_gap_is_never_dearer_than_asking_twice(model: Flash) -> None:
    one, two = 8 * KB, 512 * KB
    joined = model.seconds(one + model.gap + two)
    assert joined <= model.seconds(one) + model.seconds(two)


def test_two_pages_are_dearer_than_one_where_a_first_phase_may_pay() -> None:
    """PowerInfer-2's two phases pay below p < (t(8K) - t(4K)) / t(4K): .28 of ufs40."""
    once, twice = flash("ufs40").seconds([4 * KB, 8 * KB])
    assert (twice - once) / once == pytest.approx(0.28, abs=0.005)


def test_a_table_keeps_what_was_measured_and_is_monotone_between() -> None:
    for order, rows in PROFILE.table.items():
        sizes, rates = np.array(rows).T
        assert PROFILE.seconds(sizes, order) == pytest.approx(sizes / rates)
    sizes = np.geomspace(64, 1 << 24, 200)
    times = PROFILE.seconds(sizes)
    assert np.all(np.diff(times) >= 0)
    assert times[0] == pytest.approx(4 * KB / 0.9e9)  # a request costs what the least one does
    assert times[-1] == pytest.approx(sizes[-1] / 3.4e9)
    middle = PROFILE.seconds(16 * KB)  # halfway between 4 and 64 KB by logarithms
    ends = PROFILE.seconds([4 * KB, 64 * KB])
    assert middle == pytest.approx(float(np.sqrt(ends.prod())))


def test_a_table_without_dearer_requests_has_no_gap() -> None:
    assert Flash("flat", table={"random": ((4096, 1e9), (65536, 1e9))}).gap == 0
    assert Flash("one", table={"random": ((4096, 1e9),)}).gap == 0


def test_an_unknown_flash_is_an_error_that_names_the_others() -> None:
    with pytest.raises(PocketError, match="no flash is called nvme") as unknown:
        flash("nvme")
    assert all(one.name in str(unknown.value.because) for one in FLASHES)
