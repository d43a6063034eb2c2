"""The planner's choice of sizes is that of trying everything."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from toolkit.offload.allocation import Allocation, Sizes


def some_tables(rng: np.random.Generator, count: int, unit: int) -> list[Sizes]:
    """Sizes of whole units; times that fall, but not evenly."""
    tables = []
    for _ in range(count):
        sizes = np.sort(rng.choice(60, 6, replace=False)) * unit
        times = np.sort(rng.random(6))[::-1] + 0.01 * rng.random(6)
        tables.append(Sizes(tuple(map(int, sizes)), tuple(map(float, times))))
    return tables


def tried(tables: list[Sizes], budget: int) -> float:
    """The least sum of times of all combinations that fit."""
    pairs = product(*(zip(t.nbytes, t.seconds, strict=True) for t in tables))
    sums = ((sum(n for n, _ in each), sum(s for _, s in each)) for each in pairs)
    return min((seconds for nbytes, seconds in sums if nbytes <= budget), default=np.inf)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("unit", [1, 7, 4096])
def test_it_is_the_best_of_all_combinations(count: int, unit: int) -> None:
    rng = np.random.default_rng(count * unit)
    tables = some_tables(rng, count, unit)
    most = sum(t.nbytes[-1] for t in tables)
    allocation = Allocation(tables, most, units=most // unit)
    assert allocation.unit == unit
    for budget in rng.integers(0, most + unit, 20):
        found, best = allocation.within(int(budget)), tried(tables, int(budget))
        if found is None:
            assert best == np.inf
            continue
        assert found.nbytes <= budget and found.seconds == pytest.approx(best)
        each = [t.seconds[i] for t, i in zip(tables, found.sizes, strict=True)]
        assert sum(each) == pytest.approx(found.seconds)
        assert found.nbytes == sum(t.nbytes[i] for t, i in zip(tables, found.sizes, strict=True))


def test_a_budget_below_the_least_sizes_has_no_share() -> None:
    tables = [Sizes((100, 200), (2.0, 1.0))] * 3
    allocation = Allocation(tables, 600)
    assert allocation.within(299) is None and allocation.within(-1) is None
    least, most = allocation.within(300), allocation.within(10**9)
    assert least and most and (least.sizes, most.sizes) == ((0, 0, 0), (1, 1, 1))


def test_a_large_plan_is_solved_in_whole_units() -> None:
    rng = np.random.default_rng(5)
    sizes = tuple(k * 11008 * 7296 // 31 for k in range(32))
    tables = [Sizes(sizes, tuple(1 / (1 + k * rng.random()) for k in range(32))) for _ in range(64)]
    most = 64 * sizes[-1]
    half = Allocation(tables, most).within(most // 2)
    assert half is not None and most // 2 - 65 * half.nbytes // 1024 <= half.nbytes <= most // 2
