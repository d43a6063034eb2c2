"""Memory over contexts: exact for the plan's own, never less for a longer one; what fits."""

import pytest
from product_plan import CONTEXT, WINDOW, K, N, product_plan

from toolkit.estimate.memory import Room, complaint, longest_context, memory_at, room_of
from toolkit.plan import figures

PLAN = product_plan()
PHONE = {"name": "a-phone", "opencl_memory": 4096}


def test_the_plans_own_context_is_exact() -> None:
    found, own = memory_at(PLAN, CONTEXT), figures.memory(PLAN)
    assert found.weights == own["weights"] and found.kv == own["states"]
    assert found.arena == own["arena"] == 700 and found.buffers == own["buffers"]
    assert found.symbols == 4 * 3
    assert found.total == sum(own.values()) + found.symbols


def test_another_context_by_hand() -> None:
    """The weight stays; a table and a state shrink with the context, a window keeps its size."""
    found = memory_at(PLAN, CONTEXT // 2)
    assert found.weights == 4 * N * K + 8 * CONTEXT // 2
    assert found.kv == 8 * CONTEXT // 2 + 8 * WINDOW
    assert memory_at(PLAN, 4).kv == 8 * 4 + 8 * 4


def test_a_longer_context_never_takes_less() -> None:
    found = [memory_at(PLAN, context).total for context in range(1, 2 * CONTEXT)]
    assert found == sorted(found)


def test_the_longest_context_that_fits() -> None:
    for context in (1, 9, 23):
        room = Room(memory_at(PLAN, context).total, None)
        longest = longest_context(PLAN, room, CONTEXT)
        assert longest is not None and room.holds(memory_at(PLAN, longest))
        assert not room.holds(memory_at(PLAN, longest + 1))
    assert longest_context(PLAN, Room(10**9, None), CONTEXT) == CONTEXT
    assert longest_context(PLAN, Room(10, None), CONTEXT) == 0
    assert longest_context(PLAN, Room(None, None), CONTEXT) is None


def test_one_buffer_can_be_too_large() -> None:
    shard = 16384 + 16384  # two tensors, each at whole pages
    assert memory_at(PLAN, CONTEXT).largest == shard
    assert Room(10**9, shard).holds(memory_at(PLAN, CONTEXT)) is True
    assert Room(10**9, shard - 1).holds(memory_at(PLAN, CONTEXT)) is False
    assert Room(None, shard - 1).holds(memory_at(PLAN, CONTEXT)) is False
    assert Room(None, shard).holds(memory_at(PLAN, CONTEXT)) is None


def test_who_says_what_a_device_has() -> None:
    assert room_of(PHONE).memory == 4096 and "a-phone" in room_of(PHONE).source
    assert room_of(PHONE, 99) == Room(99, None, "--memory")
    assert room_of({"name": "x", "max_alloc": 7}).buffer == 7


@pytest.mark.parametrize("facts", [{}, {"opencl_memory": 10**9}])
def test_a_compile_is_silent_where_a_plan_fits(facts: dict[str, int]) -> None:
    assert complaint(PLAN, {"name": "a-phone", **facts}) == ""


def test_a_compile_warns_of_a_plan_that_cannot_fit() -> None:
    total = memory_at(PLAN, CONTEXT - 5).total
    words = complaint(PLAN, {"name": "a-phone", "opencl_memory": total})
    assert f"--max-context {CONTEXT - 5} fits" in words and "a-phone" in words
    assert "no context fits" in complaint(PLAN, {"name": "a-phone", "max_alloc": 64})
