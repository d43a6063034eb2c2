"""The planner's choice is that of trying everything; the machine does what it predicts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from toolkit.offload.flash_model import FLASHES, Flash, Floats, flash
from toolkit.offload.machine import Machine, Outcome
from toolkit.offload.planner import DIP, Planned, Planner, Way
from toolkit.offload.policies import Ints
from toolkit.offload.prediction.ahead_time import NEEDED, LookAhead, read_alone
from toolkit.offload.prediction.demand import Demand
from toolkit.offload.prediction.expected import expected_reads
from toolkit.offload.prediction.replayed import Replayed
from toolkit.offload.prediction.token_time import Costs
from toolkit.plan.schema import POLICIES, Point, Select, Table

COSTS = Costs(0.01, 1e-9, launch=5e-6, wait=35e-6, handoff=8e-6, copy=5e-11)


def a_table(count: int, nbytes: int = 1280, stride: int = 2048) -> Table:
    return Table(f"{count}", "neuron", count, nbytes, stride, 0, 4096, ())


def a_point(tables: int = 1, **changes: Any) -> Point:
    none, select = (0,) * tables, (0.0,) * tables
    point = Point(0, none, none, none, "static", select, 8192, 65536, threads=1, cluster=32)
    return replace(point, **changes)


def falling(rng: np.random.Generator, count: int, power: float = 3) -> Floats:
    return np.sort(rng.random(count) ** power)[::-1]


def replayed(table: Table, frequency: Floats, point: Point, order: Ints) -> list[Outcome]:
    """Tokens whose records are drawn by frequency (by index), after the pinned ones are there."""
    machine = Machine([table], point, Flash("none"), [order])
    rng = np.random.default_rng(7)
    rule = Select("above", ("scratch", 0), 0.0)
    return [
        machine.gather(0, rule, (frequency - rng.random(table.count)).astype(np.float32), step)
        for step in range(300)
    ]


@pytest.mark.parametrize("stride, gap", [(1280, 0), (1280, 8192), (2048, 4096), (8192, 8192)])
@pytest.mark.parametrize("resident", [0, 150, 300])
def test_reads_are_those_of_the_machine(stride: int, gap: int, resident: int) -> None:
    rng = np.random.default_rng(stride + gap)
    table, frequency = a_table(700, stride=stride), falling(rng, 700)
    point = a_point(gap=gap, slots=(resident,), pinned=(resident,))
    found = expected_reads(table, frequency, resident, point)
    done = replayed(table, frequency, point, np.arange(700))
    assert found.misses == pytest.approx(np.mean([len(o.streamed) for o in done]), rel=0.1)
    assert found.requests == pytest.approx(np.mean([len(o.runs) for o in done]), rel=0.2)
    assert found.bytes == pytest.approx(np.mean([o.bytes_read for o in done]), rel=0.1)


def test_of_all_records_reads_are_as_long_as_may_be() -> None:
    table, point = a_table(700), a_point(slots=(124,), pinned=(124,), max_read=16384)
    found = expected_reads(table, np.ones(700), 124, point)
    outcome = Machine([table], point, Flash("none")).gather(0, Select("all"), None, 0)
    assert found.misses == len(outcome.streamed) == 700 - 124
    assert found.requests == pytest.approx(len(outcome.runs), rel=0.2)
    assert found.bytes == pytest.approx(outcome.bytes_read, rel=0.1)


def test_records_by_frequency_are_hit_more_often_than_by_index() -> None:
    rng = np.random.default_rng(2)
    frequency = rng.random(700) ** 3
    point = a_point(slots=(200,), pinned=(200,))
    orders = np.argsort(-frequency), np.arange(700)
    hits = [
        sum(len(o.hits) for o in replayed(a_table(700), frequency, point, order))
        for order in orders
    ]
    assert hits[0] > 2 * hits[1]


def independent(rng: np.random.Generator, frequency: Floats, tokens: int = 40) -> Any:
    """Tokens that need records so often."""
    return rng.random((tokens, len(frequency))) < frequency


@pytest.mark.parametrize("stride, gap", [(1280, 0), (1280, 8192), (2048, 4096), (8192, 8192)])
@pytest.mark.parametrize("resident, cluster", [(0, 7), (150, 32), (0, 700)])
def test_replayed_reads_are_the_machines(
    stride: int, gap: int, resident: int, cluster: int
) -> None:
    """Each of its lengths, as often, those that are cut at max_read among them."""
    rng = np.random.default_rng(resident + gap)
    table, frequency = a_table(700, stride=stride), falling(rng, 700)
    sizes = {"slots": (resident,), "pinned": (resident,), "max_read": 20480}
    point, tokens = a_point(gap=gap, cluster=cluster, **sizes), independent(rng, frequency)
    machine, rule = Machine([table], point, Flash("none")), Select("above", ("scratch", 0), 0.5)
    done = [machine.gather(0, rule, np.float32(row), t) for t, row in enumerate(tokens)]
    found = Replayed(table, tokens).reads(resident, point)
    runs = np.concatenate([outcome.runs[:, 1] for outcome in done])
    lengths, counts = np.unique(runs, return_counts=True)
    np.testing.assert_array_equal(found.lengths, lengths)
    np.testing.assert_allclose(found.counts * len(tokens), counts)
    assert found.misses == pytest.approx(np.mean([len(o.streamed) for o in done]))


def ways(tables: int) -> list[Way]:
    """Larger clusters and more threads take more memory."""
    pairs = product((2, 4), (1, 2))
    return [Way(a_point(tables, cluster=c, threads=n), 128 * c + 256 * n) for c, n in pairs]


@pytest.mark.parametrize("name", [each.name for each in FLASHES])
@pytest.mark.parametrize(
    "recurring",
    [
        None,
        [[0.0, 1.0], [0.5, 0.4], [1.0, 0.5]],
        [[0.0, 1.0, 1.0], [0.5, 0.7, 0.3], [1.0, 0.2, 0.8]],
    ],
)
def test_it_is_the_best_of_all_choices(name: str, recurring: list[list[float]] | None) -> None:
    """Tables so small that every number of slots is tried, in memory of whole units."""
    rng = np.random.default_rng(3)
    tables = [a_table(count, 128 * (1 + count % 2), 256) for count in (6, 5, 4, 5)]
    again = None if recurring is None else np.array(recurring, np.float32)
    often = [falling(rng, table.count, 1) for table in tables]
    demands = [
        Demand(t, f, again, Replayed(t, independent(rng, f)) if t.count > 4 else None)
        for t, f in zip(tables, often, strict=True)
    ]
    costs = replace(COSTS, copy=1e-8, whole=2e-6, select=1e-8)
    planner = Planner(demands, ways(4), flash(name), costs)
    policies = ("static", "lfu", "window")[: len(recurring[0]) if recurring else 1]

    def alone(demand: Demand, slots: int, policy: str, way: Way) -> float:
        """Of one table, in words of its own."""
        if demand.replayed is None:
            reads = expected_reads(demand.table, demand.frequency, slots, way.point)
        else:
            reads = demand.replayed.reads(slots, way.point)
        if policy != "static" and again is not None:
            column = again[:, policies.index(policy)]
            ratio = np.interp(slots / demand.table.count, again[:, 0], column)
            reads = reads.times(float(ratio) if ratio < 0.95 else 1.0)
        cluster, threads = way.point.cluster, way.point.threads
        size, last = costs.byte * demand.table.bytes, min(reads.misses, cluster)
        if slots == demand.table.count:
            return 2e-6 + demand.needed * size
        any_late = min(1.0, reads.misses)
        early = 1 + max(0.0, reads.misses / cluster - any_late)
        computed = (demand.needed - last) * size + early * costs.launch
        flashed = reads.seconds(planner.flash)
        copied = costs.copy * reads.misses * demand.table.bytes
        shown = max(flashed, (flashed + copied) / threads, computed)
        waits = costs.wait + costs.select * demand.table.count
        return float(waits + shown + any_late * (costs.launch + costs.handoff) + last * size)

    choices = list(product(planner.ways, policies))
    times = {
        (i, n, c): alone(demand, n, choices[c][1], choices[c][0])
        for c in range(len(choices))
        for i, demand in enumerate(demands)
        for n in range(demand.table.count + 1)
    }
    tried = [
        (
            sum(n * t.bytes for n, t in zip(slots, tables, strict=True)) + choices[c][0].nbytes,
            costs.rest + sum(times[i, n, c] for i, n in enumerate(slots)),
        )
        for slots in product(*(range(t.count + 1) for t in tables))
        for c in range(len(choices))
    ]
    for budget in range(planner.least_bytes, planner.most + 1, 3 * 128):
        found = planner.within(budget)
        best = min(seconds for nbytes, seconds in tried if nbytes <= budget)
        assert found.seconds == pytest.approx(best, rel=1e-9)
        assert found.nbytes <= budget
        if found.policy == "static":
            assert found.pinned == found.slots
        else:
            pinned = [int((each > 0.5).sum()) for each in often]
            assert found.pinned == tuple(map(min, found.slots, pinned))


def planned(counts: tuple[int, ...], name: str = "ufs31", **costs: float) -> Planner:
    rng = np.random.default_rng(4)
    demands = []
    for count in counts:
        frequency = falling(rng, count)
        replayed = Replayed(a_table(count), independent(rng, frequency))
        demands.append(Demand(a_table(count), frequency, None, replayed))
    return Planner(demands, ways(len(counts)), flash(name), replace(COSTS, **costs))


def test_the_least_memory_for_a_time_is_the_inverse() -> None:
    planner = planned((333, 500))
    slowest, fastest = (planner.within(n).seconds for n in (planner.least_bytes, planner.most))
    for share in (0.1, 0.3, 0.5):
        wanted = fastest + share * (slowest - fastest)
        found = planner.least(wanted)
        assert found is not None and found.seconds <= wanted
        fewer = [found.nbytes - 1, *(found.nbytes - n * 1280 for n in range(1, DIP + 1))]
        assert all(planner.within(n).seconds > wanted for n in fewer if n >= planner.least_bytes)
    assert planner.least(fastest * 0.99) is None
    most = planner.least(fastest)
    assert most is not None and most.seconds == fastest


@pytest.mark.parametrize("name", ["ufs40", "m1max", "a18"])
def test_more_memory_never_takes_longer_and_all_of_it_reads_nothing(name: str) -> None:
    planner = planned((63, 700, 65), name)
    budgets = [round(planner.most * (3 + share) / 23) for share in range(21)]
    found = [planner.within(each) for each in budgets]
    times = [each.seconds for each in found]
    assert times == sorted(times, reverse=True) and found[-1].slots == (63, 700, 65)
    assert found[-1].reads.bytes == 0 and found[0].reads.bytes > 0


def test_a_slower_flash_is_never_faster() -> None:
    """ufs21 is slower than ufs31, and that than ufs40, at each size of a read."""
    planners = [planned((300, 200), name) for name in ("ufs40", "ufs31", "ufs21")]
    for share in range(1, 10):
        times = [each.within(round(each.most * share / 10)).seconds for each in planners]
        assert times == sorted(times)


def test_clusters_and_threads_are_those_that_take_least() -> None:
    """Dear launches want large clusters; copies that keep flash idle want another thread."""
    large = planned((300, 200), launch=1e-3)
    assert _half(large).way.point.cluster == 4
    small = planned((300, 200), launch=0.0, handoff=0.0, byte=1e-6)
    assert _half(small).way.point.cluster == 2
    assert _half(planned((300, 200), copy=1e-8)).way.point.threads == 2
    assert _half(planned((300, 200), copy=0.0)).way.point.threads == 1


def _half(planner: Planner) -> Planned:
    return planner.within(planner.most // 2)


def test_what_lies_idle_with_one_thread_is_worth_another() -> None:
    """Storage that does more where several wait for it, as measured."""
    rates = {order: ((4096, 1e9), (1 << 20, 2e9)) for order in ("random", "sequential")}
    alone = {order: tuple((n, r / 3) for n, r in rows) for order, rows in rates.items()}
    several = Flash("mine", table=rates, alone=alone)
    assert several.with_threads(1).table == alone and several.with_threads(4) is several
    planner = replace(planned((300, 200)), flash=several)
    assert _half(planner).way.point.threads == 2


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_that_is_given_is_kept_to(policy: str) -> None:
    """Of an older calibration, which tells nothing of windows, as if records never changed."""
    for again in (None, np.float32([[0, 1], [1, 0.5]]), np.float32([[0, 1, 1], [1, 0.5, 0.7]])):
        demands = [Demand(a_table(63), falling(np.random.default_rng(6), 63), again)]
        planner = Planner(demands, ways(1), flash("ufs31"), COSTS, policy)
        found = planner.within(planner.most // 2)
        assert found.policy == policy and (policy != "static" or found.pinned == found.slots)


def test_what_a_device_chooses_itself_waits_for_nobody() -> None:
    """All in memory: scores and ids are the device's own."""
    costs, table, point = replace(COSTS, whole=1e-6, select=1e-8), a_table(100), a_point()
    often, flash = np.full(100, 0.5), FLASHES[0]
    for scored in (True, False):
        planner = Planner([Demand(table, often, scored=scored)], [Way(point)], flash, costs)
        taken = planner.seconds(planner.demands[0], 100, point)
        assert taken == pytest.approx(costs.whole + 50 * 1280 * costs.byte)


def looking(name: str, between: float = 4e-4, dispatches: float = 5e-5) -> Planner:
    """Two networks of 1.1 B parameters; the second one's prefetch reads 20 records, if any."""
    rng = np.random.default_rng(5)
    table = a_table(5632, 3648, 3648)
    demands = [Demand(table, falling(rng, 5632, 4)) for _ in range(2)]
    point = a_point(2, gap=0, ahead=(20,))
    look = LookAhead((0,), 0, 1, dispatches, between)
    return Planner(demands, [Way(point)], flash(name), COSTS, "static", [look])


def test_what_is_read_ahead_is_where_it_is_faster() -> None:
    half = looking("m1max").records // 2
    assert looking("m1max").within(half).ahead == (20,)
    assert looking("m1max", dispatches=1e-3).within(half).ahead == (0,)
    assert looking("m1max").within(looking("m1max").most).ahead == (0,)  # nothing is missing
    slow = replace(looking("ufs21", between=1e-5), costs=Costs(byte=1e-12))
    assert slow.within(half).ahead == (0,)  # flash always reads what is needed for sure


def test_as_many_are_read_ahead_as_flash_has_time_for() -> None:
    """And the rest of a group of four that it may begin."""
    (look,), table = looking("m1max").looks, a_table(5632, 3648, 4096)
    idle = (0.0, 2e-4, 4e-4, 1e-3)  # seconds; a read takes 11 microseconds
    assert [look.records(48, table, flash("m1max"), s) for s in idle] == [4, 20, 40, 48]
    counts = []
    for name, between in (("ufs21", 2e-4), ("m1max", 2e-4), ("m1max", 4e-4)):
        planner = replace(looking(name, between), costs=Costs(byte=1e-12))
        way = replace(planner.ways[0], point=replace(planner.ways[0].point, ahead=(48,)))
        counts += replace(planner, ways=[way]).within(planner.records // 2).ahead
    assert counts == [8, 20, 36]


def test_nothing_is_read_ahead_beside_a_network_that_lies_in_memory() -> None:
    """Executors leave such a prefetch out, however much it would gain."""
    planner = looking("m1max")
    point = replace(planner.within(planner.records // 2).way.point, policy="static", ahead=(20,))
    count = planner.demands[0].table.count
    assert planner.ahead(replace(point, slots=(count - 1, 2000))) == (20,)
    assert planner.ahead(replace(point, slots=(count, 2000))) == (0,)


def test_predictions_have_what_look_ahead_gains_and_reads() -> None:
    planner = looking("m1max")
    found = planner.within(planner.records // 2)
    point = replace(found.way.point, slots=found.slots, policy="static", ahead=found.ahead)
    seconds, reads = planner.predicted(replace(point, ahead=(0,)))
    early, more = planner.predicted(point)
    assert early == found.seconds < seconds
    table, count = planner.demands[1].table, min(20, reads[1].misses)
    one = float(flash("m1max").seconds(read_alone(table)))
    gained = NEEDED * count * min(one, reads[1].seconds(flash("m1max")) / reads[1].misses) - 5e-5
    assert seconds - early == pytest.approx(gained)
    wasted = (1 - NEEDED) * count * read_alone(table)
    assert more[1].bytes - reads[1].bytes == pytest.approx(wasted)
    assert more[0].bytes == reads[0].bytes and more[1].misses == reads[1].misses


def test_a_device_that_waits_for_the_host_computes_hot_records_meanwhile() -> None:
    """Those that nearly each token needs, where it pays; nothing else of the point changes."""
    table, often = a_table(700), np.concatenate([np.full(90, 0.95), np.full(610, 0.02)])
    waits = [Demand(table, often, spare=spare) for spare in (False, True)]
    ways = [Way(a_point(slots=(), pinned=()))]
    plain, hot = (Planner([each], ways, FLASHES[0], COSTS).within(400_000) for each in waits)
    assert plain.dense == (0,) and hot.dense == (90,)
    assert replace(hot, dense=(0,), seconds=plain.seconds) == plain
    in_vain = 1e-9 * 1280 * 90 * 0.05
    gained = min(1e-9 * 1280 * 90, COSTS.wait) - in_vain - COSTS.launch
    assert plain.seconds - hot.seconds == pytest.approx(gained)
    dear = replace(COSTS, launch=1e-3)
    assert Planner(waits[1:], ways, FLASHES[0], dear).within(400_000).dense == (0,)
    assert Planner(waits[1:], ways, FLASHES[0], COSTS).within(10**9).dense == (0,)  # all is pinned
