"""Density, gamma and slots are chosen together: as trying everything would, within a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from onnx_passes.mask_ffn import count_of, split
from toolkit.compiler.budget.dip.joint import best_of
from toolkit.compiler.budget.dip.pruned import Pruned, measured, worth_trying
from toolkit.compiler.budget.planned import Planning
from toolkit.offload.flash_model import Flash, flash
from toolkit.offload.machine import Machine
from toolkit.offload.planner import Planner, Way
from toolkit.offload.prediction.demand import Demand
from toolkit.offload.prediction.preferred import Preferred
from toolkit.offload.prediction.token_time import Costs
from toolkit.plan.schema import Point, Select, Table

COSTS = Costs(1e-3, 2e-10, launch=5e-6, wait=35e-6, handoff=8e-6, copy=5e-11)
WIDTHS = ((64, 6720), (176, 1216))  # records of a layer's tables, and their bytes: as of 1.1 B
LAYERS, TOKENS, MOST = 2, 4, 0.02
POINT = Point(0, (), (), (), "static", (), 8192, 65536, threads=1, cluster=256)
DENSITIES, GAMMAS, SHARES = (0.5, 0.6, 0.7, 0.8, 0.9), (1.0, 0.5, 0.2, 0.1), (0.25, 0.5, 0.75)
PROFILES = ("m1max", "ufs40", "ufs31", "a18")


def cost_of(density: float, gamma: float, share: float) -> float:
    """About what it costs a trained SwiGLU model."""
    return 0.068 * (2 - 2 * density) ** 2.7 * (1 + 0.45 * share * (1 / gamma - 1))


FACTS = {
    "dip": [
        {
            "selector": "dip" if gamma == 1 else "dip-ca",
            "density": density,
            "gamma": gamma,
            "memory": share,
            "loss": cost_of(density, gamma, share),
        }
        for density, gamma in product(DENSITIES, GAMMAS)
        for share in ((0.5,) if gamma == 1 else SHARES)
    ]
}
POINTS = measured(FACTS, "dip-ca")


def sizes_of(number: int) -> Any:
    """Magnitudes of which some are greater than others for long."""
    rng = np.random.default_rng(number)
    count = WIDTHS[number % 2][0]
    usual = np.sort(np.exp(rng.normal(size=count)))[::-1]
    return (usual * np.abs(rng.normal(size=(TOKENS, count)))).astype(np.float32)


SIZES = [sizes_of(number) for number in range(2 * LAYERS)]


def plans(reads: Flash) -> Callable[[Pruned], Planning]:
    """Of each point, a plan of two layers."""

    def plan_of(point: Pruned) -> Planning:
        shares = split(point.density, True)
        demands = []
        for number, sizes in enumerate(SIZES):
            count, nbytes = WIDTHS[number % 2]
            table = Table(f"{number}", "down", count, nbytes, nbytes, 0, 0, ())
            k = count_of(shares[number % 2], count)
            taken = Preferred(table, sizes, k, point.gamma)
            often = np.linspace(1, 0, count)
            demands.append(Demand(table, often, None, taken, shares=point.shares(MOST)))
        ways = [Way(replace(POINT, threads=n), 65536 * n) for n in (1, 2)]
        planner = Planner(demands, ways, reads, COSTS)
        return cast(Planning, SimpleNamespace(planner=planner, resident=0))

    return plan_of


def tried(planner: Planner, budget: int, steps: int = 7) -> float:
    """Seconds of the best of a grid of slots, in whatever way."""
    best = np.inf
    for way in planner.ways:
        held, taken = np.zeros(1), np.zeros(1)  # of all combinations of the tables so far
        for demand in planner.demands:
            counts = np.unique(np.linspace(0, demand.table.count, steps).astype(int)).tolist()
            legal = [n for n in counts if n <= demand.most(n)]
            times = np.array([planner.seconds(demand, n, way.point) for n in legal])
            held = (held[:, None] + np.array(legal) * demand.table.bytes).ravel()
            taken = (taken[:, None] + times).ravel()
        best = min(best, float(taken[held <= budget - way.nbytes].min(initial=np.inf)))
    return best + planner.costs.rest


def may_be(point: Pruned, budget: int) -> bool:
    """Whether it costs little enough with the same share of each table."""
    share = (budget - 65536) / WHOLE
    return any(low <= share <= high for low, high in point.shares(MOST))


WHOLE = LAYERS * sum(count * nbytes for count, nbytes in WIDTHS)
BUDGETS = tuple(65536 + int(WHOLE * share) for share in (0.35, 0.55, 0.8))


@pytest.mark.parametrize("profile", PROFILES[1:3])
def test_the_choice_is_that_of_trying_everything(profile: str) -> None:
    """At three budgets, whatever else of a grid might do it takes at most 5 % longer."""
    check_choice(profile, BUDGETS, 5)


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_the_choice_is_that_of_trying_more(profile: str) -> None:
    check_choice(profile, BUDGETS, 9)


def check_choice(profile: str, budgets: tuple[int, ...], steps: int) -> None:
    plan_of, few = plans(flash(profile)), worth_trying(POINTS, MOST)
    assert 2 <= len(few) < len([point for point in POINTS if point.shares(MOST)])
    grid = {point: plan_of(point).planner for point in POINTS if point.shares(MOST)}
    for budget in budgets:
        found = best_of(few, plan_of, budget, MOST)
        assert found is not None and found.nbytes <= budget
        others = [tried(grid[p], budget, steps) for p in grid if may_be(p, budget)]
        assert found.seconds <= 1.05 * min(others)


def test_a_slower_flash_never_raises_gamma() -> None:
    few, seen = worth_trying(POINTS, MOST), set[float]()
    for budget in BUDGETS:
        best = [
            best_of(few, plans(flash("a18").slowed(speed)), budget, MOST)
            for speed in (8.0, 1.0, 0.1)
        ]
        gammas = [each.point.gamma for each in best if each is not None]
        assert len(gammas) == 3 and all(slow <= fast for fast, slow in pairwise(gammas))
        seen |= set(gammas)
    assert len(seen) > 1


def test_the_least_memory_that_gives_a_rate() -> None:
    few, plan_of = worth_trying(POINTS, MOST), plans(flash("ufs40"))
    fast = best_of(few, plan_of, BUDGETS[1], MOST)
    assert fast is not None
    found = best_of(few, plan_of, 1 / fast.seconds, MOST)
    assert found is not None and found.nbytes <= fast.nbytes and found.seconds <= fast.seconds
    assert best_of(few, plan_of, 1e9, MOST) is None


def test_what_a_point_costs_and_how_much_may_be_in_memory() -> None:
    losses = ((0.0, 0.01), (0.25, 0.012), (0.5, 0.03), (0.75, 0.08), (1.0, 0.01))
    point = Pruned(0.7, 0.1, losses)
    assert [point.loss(s) for s in (0.0, 0.1, 0.25, 0.3, 0.8, 1.0)] == [
        *(0.01, 0.012, 0.012, 0.03, 0.08, 0.01),
    ]
    assert point.shares(0.02) == ((0.0, 0.25), (1.0, 1.0))
    assert point.shares(0.03) == ((0.0, 0.5), (1.0, 1.0))
    assert point.shares(0.1) == ((0.0, 1.0),) and point.shares(0.001) == ()
    wide, low = Pruned(0.7, 0.1, ((0.0, 0.0), (1.0, 0.0))), Pruned(0.6, 0.5, ((0.0, 0), (1.0, 0)))
    assert worth_trying([point, wide, low], 0.02) == [wide, low]
    plain = next(each for each in POINTS if (each.density, each.gamma) == (0.7, 1.0))
    assert plain.loss(0.3) == pytest.approx(cost_of(0.7, 1.0, 0.5))


@pytest.mark.parametrize("gamma", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("resident", [0, 40, 64])
def test_reads_are_those_of_the_machine(gamma: float, resident: int) -> None:
    """Of each token, by its own magnitudes and what lies in memory."""
    count, nbytes = WIDTHS[0]
    table, sizes = Table("t", "channel", count, nbytes, nbytes, 0, 0, ()), SIZES[0]
    point = replace(POINT, slots=(resident,), pinned=(resident,), dense=(0,))
    machine, rule = Machine([table], point, Flash("none")), Select("top", ("scratch", 0), k=42)
    rule = replace(rule, gamma=gamma)
    done = [machine.gather(0, rule, each, step) for step, each in enumerate(sizes)]
    found = Preferred(table, sizes, 42, gamma).reads(resident, point)
    assert found.misses == pytest.approx(np.mean([len(o.streamed) for o in done]))
    assert found.bytes == pytest.approx(np.mean([o.bytes_read for o in done]))
    assert found.requests == pytest.approx(np.mean([len(o.runs) for o in done]))
