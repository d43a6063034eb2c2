"""Predicted times against ones that are counted by hand; more of a device is never slower."""

from dataclasses import replace
from typing import Any

import pytest
from product_plan import CHUNK, CONTEXT, K, N, product_plan

from toolkit.compiler.budget.clock import LAUNCHES, Clock
from toolkit.compiler.budget.short_prompt import most_one_by_one
from toolkit.compiler.cost.rates import Figure, Rates, Share
from toolkit.errors import PocketError
from toolkit.plan.schema import Cooperative, Variant

FACTS = {"name": "adreno", "class": "adreno", "local_memory": 32768, "features": ["fp16"]}
HALF = Share(0.5, 0.25, "test")


def rates(read: float = 1e9, arithmetic: float = 1e9, **shares: Share) -> Rates:
    launch, step = Figure(1e-6, "test"), Figure(1e-7, "test")
    shares = {"other": HALF, **shares}
    return Rates(Figure(read, "test"), Figure(arithmetic, "test"), launch, step, shares)


def total(seconds: Any) -> float:
    return sum(seconds.values())


def test_a_decode_step_moves_its_weight() -> None:
    moved, operations = 4 * (K + N * K + N), 2 * N * K
    assert moved / 0.5 > operations / 0.25 - 1
    slower = max(moved / 0.5e9, operations / 0.25e9)
    assert Clock(product_plan(), FACTS, rates()).decode(5) == pytest.approx(
        {"gemv": 2 * slower, LAUNCHES: 2e-6}
    )


def test_a_step_that_a_cache_holds_reads_from_there() -> None:
    """Not one that moves a byte more; what is computed takes its time all the same."""
    plan, slow = product_plan(), rates(read=1e6)
    moved = Clock(plan, FACTS, slow).step(1, 5).bytes
    cached = replace(slow, cached=Figure(2e6, "test"))
    memory, more, holds = (
        Clock(plan, FACTS, replace(cached, cache_bytes=size)).decode(5)["gemv"]
        for size in (0, moved - 1, moved)
    )
    assert memory == more == pytest.approx(2 * holds)
    endless = replace(slow, cached=Figure(1e30, "test"), cache_bytes=moved)
    assert Clock(plan, FACTS, endless).decode(5)["gemv"] == pytest.approx(2 * 2 * N * K / 0.25e9)


def test_soft_shares_add_as_squares() -> None:
    plan = product_plan()
    hard = Clock(plan, FACTS, rates()).decode(5)["gemv"]
    soft = Clock(plan, FACTS, rates(other=replace(HALF, soft=True))).decode(5)["gemv"]
    moving, computing = 4 * (K + N * K + N) / 0.5e9, 2 * N * K / 0.25e9
    assert hard == pytest.approx(2 * max(moving, computing))
    assert soft == pytest.approx(2 * (moving**2 + computing**2) ** 0.5)


def test_a_prompt_is_fed_in_chunks() -> None:
    """The last token of 17 is a chunk of its own, which the phase of one token takes."""
    found = Clock(product_plan(), FACTS, rates()).prefill(2 * CHUNK + 1)
    chunk = 2 * CHUNK * N * K / 0.25e9
    assert found["gemm"] == pytest.approx(2 * 2 * chunk)
    assert found[LAUNCHES] == pytest.approx(3 * 2e-6)
    assert found["gemv"] > 0


def test_a_short_prompt_is_fed_one_by_one() -> None:
    """As the plan says; what it is to say is the most for which that is no slower."""
    plan = product_plan()
    plan = replace(plan, model={**plan.model, "short_prompt": 3})
    clock = Clock(plan, FACTS, rates())
    assert total(clock.prefill(3)) == pytest.approx(3 * total(clock.decode(0)))
    assert clock.prefill(4) == clock.step(4, 0).seconds
    for launch in (1e-9, 1e-5, 1.0):  # of what isn't alike for the two
        clock = Clock(plan, FACTS, replace(rates(), launch=Figure(launch, "test")))
        most, alone = most_one_by_one(clock), total(clock.decode(0))
        quicker = [n * alone <= total(clock.step(n, 0).seconds) for n in range(2, CHUNK + 1)]
        assert most == 1 + [*quicker, False].index(False)


def test_the_narrowest_share_counts() -> None:
    plan = product_plan()
    wide, narrow = Share(1.0, 1.0, ""), Share(0.1, 0.1, "")
    slow = Clock(plan, FACTS, rates(**{"gemv": wide, "gemv f32": narrow})).decode(0)["gemv"]
    fast = Clock(plan, FACTS, rates(**{"gemv": wide, "gemv f16": narrow})).decode(0)["gemv"]
    assert slow == pytest.approx(10 * fast)
    few = rates(**{"gemm": wide, "gemm few": narrow})
    assert Clock(plan, FACTS, few).step(3, 0).seconds["gemm"] > 1e-6
    assert rates().share("gemm") == HALF


def test_one_launch_for_a_whole_phase() -> None:
    prefill, decode = product_plan().phases
    joined = replace(decode, cooperative=Cooperative(0))
    plan = product_plan(phases=(prefill, joined))
    assert Clock(plan, FACTS, rates()).decode(0)[LAUNCHES] == pytest.approx(1e-6 + 2e-7)


@pytest.mark.parametrize("better", [{"read": 2e9}, {"arithmetic": 4e9}])
def test_a_better_device_is_never_slower(better: dict[str, float]) -> None:
    plain, fast = (Clock(product_plan(), FACTS, rates(**each)) for each in ({}, better))
    for tokens in (1, 3, CHUNK, 2 * CHUNK + 1):
        assert total(fast.prefill(tokens)) <= total(plain.prefill(tokens))
    assert total(fast.decode(7)) <= total(plain.decode(7))


def test_a_variant_that_the_device_lacks_is_passed_over() -> None:
    prefill, decode = product_plan().phases
    *_, fetch = decode.steps
    lacking = Variant(1, (1,), (1,), requires=("subgroups",))
    step = replace(decode.dispatches()[0], variants=(lacking, Variant(0, (1,), (1,))))
    plan = product_plan(phases=(prefill, replace(decode, steps=(step, fetch))))
    assert set(Clock(plan, FACTS, rates()).decode(0)) == {"gemm", LAUNCHES}
    alone = replace(step, variants=(lacking,))
    plan = product_plan(phases=(prefill, replace(decode, steps=(alone, fetch))))
    with pytest.raises(PocketError, match="no variant of product runs on this device"):
        Clock(plan, FACTS, rates()).decode(0)


def test_what_cannot_be_estimated() -> None:
    plan = product_plan()
    edited = tuple(replace(program, case=None) for program in plan.programs)
    with pytest.raises(PocketError, match="this plan cannot be estimated"):
        Clock(replace(plan, programs=edited), FACTS, rates()).decode(0)
    with pytest.raises(PocketError, match="this plan generates no text"):
        Clock(plan, FACTS, rates()).step(1, CONTEXT + 1)
