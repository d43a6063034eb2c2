"""The point of a run: one of the plan's, or between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flash_toy import RECORD, F, FlashToy

from toolkit.errors import PocketError
from toolkit.offload.points import choose_point, flash_of, memory_of
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan

RESIDENT = 100_000 - 20 * RECORD.nbytes
ALL = 300_000  # its point has every record


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return load_plan(FlashToy(tmp_path_factory.mktemp("flash")).folder)


@pytest.mark.parametrize("memory, number", [(100_000, 0), (200_000, 1), (ALL, 2), (None, 2)])
def test_points_of_the_plan_are_themselves(plan: Plan, memory: int | None, number: int) -> None:
    assert choose_point(plan, memory) == plan.points[number]


def test_more_memory_never_means_fewer_records(plan: Plan) -> None:
    """And no point takes more than it may, or leaves room for a record of each table."""
    before = np.zeros(2)
    for memory in range(RESIDENT, ALL + 1000, 97):
        point = choose_point(plan, memory)
        slots, pinned = np.array(point.slots), np.array(point.pinned)
        assert (before <= slots).all() and (pinned <= slots).all() and (slots <= F).all()
        assert point.memory <= memory
        before = slots
        if memory < 100_000:  # room is left for less than one of each
            assert memory - point.memory < 2 * RECORD.nbytes
    assert choose_point(plan, RESIDENT).slots == (0, 0)


def test_what_is_pinned_between_points(plan: Plan) -> None:
    """All of the second table, which no gather chooses from; of the first as many as there were."""
    point = choose_point(plan, 200_000 + 30 * RECORD.nbytes)
    assert point.policy == "lfu" and point.slots[1] > 33
    assert point.pinned == (7, point.slots[1])


def test_shares_are_of_all_records_in_memory(plan: Plan) -> None:
    assert memory_of(plan, "100%") == ALL and memory_of(plan, "50%") == ALL // 2
    with pytest.raises(PocketError, match="does not run"):
        memory_of(plan, "30%")
    assert memory_of(plan, "2M") == 2_000_000 and memory_of(plan, None) is None
    with pytest.raises(PocketError, match="is no size"):
        memory_of(plan, "much")


def test_too_little_says_what_takes_it(plan: Plan) -> None:
    with pytest.raises(PocketError, match=f"not run in {RESIDENT - 1} bytes") as caught:
        choose_point(plan, RESIDENT - 1)
    assert all(word in str(caught.value.because) for word in (str(RESIDENT), "weights", "reads"))
    assert f"--memory {RESIDENT}" in caught.value.hint


def test_plans_that_lie_in_memory(tmp_path: Path) -> None:
    from toy import Toy

    dense = load_plan(Toy(tmp_path).folder)
    for option, call in (("--memory", memory_of), ("--flash", flash_of)):
        assert call(dense, None) is None
        with pytest.raises(PocketError, match=f"{option} has no effect"):
            call(dense, "ufs40")
