"""What a gather does as a whole: clusters, launches, bytes, several tables, other points."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from toolkit.offload.access_trace import line
from toolkit.offload.clusters import Launch
from toolkit.offload.flash_model import Flash, flash
from toolkit.offload.machine import Machine, Outcome
from toolkit.offload.policies import POLICIES
from toolkit.plan.schema import PAGE, Point, Select, Table

NONZERO, ALL = Select("nonzero"), Select("all")


def table(count: int, size: int = 3648, stride: int = 4096, offset: int = 0) -> Table:
    return Table("ffn", "neuron", count, size, stride, 0, offset, ())


def point(*slots: int, policy: str = "lfu", pinned: int = 0, cluster: int = 8) -> Point:
    pins = tuple(min(each, pinned) for each in slots)
    return Point(
        0,
        slots,
        pins,
        tuple(0 for _ in slots),
        policy,
        (),
        gap=2 * PAGE,
        max_read=128 * PAGE,
        threads=1,
        cluster=cluster,
    )


def scores(rng: np.random.Generator, count: int, share: float = 0.3) -> np.ndarray:
    return np.where(rng.random(count) < share, rng.standard_normal(count), 0).astype(np.float32)


def launched(outcome: Outcome, staged: bool) -> list[int]:
    return [int(r) for each in every(outcome) if each.staged == staged for r in each.records]


@pytest.mark.parametrize("policy", [one.name for one in POLICIES])
@pytest.mark.parametrize("count", [1, 7, 63, 65])
@pytest.mark.parametrize("tile", [0, 5])
def test_every_record_is_computed_once_and_after_its_read(
    policy: str, count: int, tile: int
) -> None:
    rng = np.random.default_rng(count)
    at = point(count // 2, policy=policy, pinned=count // 2 if policy == "static" else count // 5)
    order = rng.permutation(count)
    machine = Machine([table(count)], at, flash("ufs40"), [order])
    most = tile or at.cluster
    for step in range(30):
        given = scores(rng, count)
        found = machine.gather(0, NONZERO, given, step, tile)
        assert np.array_equal(np.sort(order[found.selected]), np.flatnonzero(given))
        assert sorted(launched(found, False) + launched(found, True)) == found.selected.tolist()
        assert launched(found, True) == found.streamed.tolist()
        assert found.clusters[0].runs == (0, 0)
        residents = [[each.resident for each in cluster.launches] for cluster in found.clusters]
        assert all(residents[0]) and len(residents[0]) >= min(1, len(found.hits))
        shares = [sum(each) for each in residents]
        assert max(shares) - min(shares) <= 1  # flash has time for each of the others
        hits = [r for each in every(found) if each.resident for r in each.records]
        assert hits == found.hits.tolist()
        ends = [cluster.runs for cluster in found.clusters]
        assert [end for _, end in ends[:-1]] == [first for first, _ in ends[1:]]
        assert ends[-1][1] == len(found.runs)
        sizes = []
        for cluster in found.clusters[1:]:
            read = [each for each in cluster.launches if not each.resident]
            assert cluster.launches[: len(read)] == tuple(read)
            sizes.append(sum(len(each.records) for each in read))
            bring(found, cluster.runs, read)
        assert max(sizes, default=0) <= most
        assert len(sizes) == -(-sum(sizes) // most) and len(set(sizes[:-1])) <= 1
        for each in every(found):
            assert tile == 0 or len(each.records) <= tile
            if not each.staged:
                assert np.array_equal(machine.caches[0].slot_of[each.records], each.slots)


def every(found: Outcome) -> Iterator[Launch]:
    """Its launches, in order."""
    return (each for cluster in found.clusters for each in cluster.launches)


def bring(found: Outcome, runs: tuple[int, int], launches: Sequence[Launch]) -> None:
    """A cluster's own runs cover its records."""
    for each in launches:
        for record in each.records:
            spans = found.runs[slice(*runs)]
            inside = (spans[:, 0] <= record * 4096) & (record * 4096 + 3648 <= spans.sum(axis=1))
            assert inside.sum() == 1


def test_a_gather_of_nothing_launches_once_over_no_record() -> None:
    machine = Machine([table(7)], point(3), flash("ufs40"))
    found = machine.gather(0, NONZERO, np.zeros(7, np.float32), 0)
    (first,) = found.clusters
    assert [len(each.records) for each in first.launches] == [0]
    assert (found.seconds, found.bytes_read, found.bytes_used) == (0, 0, 0)


def test_all_that_fits_is_read_once() -> None:
    machine = Machine([table(65)], point(65), flash("ufs40"))
    first, second = (machine.gather(0, ALL, None, step) for step in (0, 1))
    assert (len(first.hits), len(second.hits)) == (0, 65)
    assert first.bytes_read == 65 * PAGE and first.bytes_used == 65 * 3648
    assert not len(second.runs) and second.seconds == 0


def test_what_is_pinned_is_read_when_the_machine_opens() -> None:
    machine = Machine([table(65)], point(30, policy="static", pinned=30), flash("a18"))
    assert machine.opening[0].runs.tolist() == [[0, 30 * PAGE]]
    assert machine.opening[0].seconds == pytest.approx(30 * PAGE / 1e9)
    found = machine.gather(0, ALL, None, 0)
    assert found.hits.tolist() == list(range(30))
    assert found.streamed.tolist() == list(range(30, 65))


def test_the_seconds_are_those_of_the_runs() -> None:
    rates = {"random": ((4096, 1e9),), "sequential": ((4096, 2e9),)}
    machine = Machine([table(65)], point(0, cluster=4), Flash("t", latency=1e-3, table=rates))
    given = np.zeros(65, np.float32)
    given[[0, 1, 2, 3, 4, 5, 40]] = 1  # 4 records, 2 that follow at once, 1 apart
    found = machine.gather(0, NONZERO, given, 0)
    assert found.runs.tolist() == [[0, 4 * PAGE], [4 * PAGE, 2 * PAGE], [40 * PAGE, PAGE]]
    assert found.seconds == pytest.approx(1e-3 + 5 * PAGE / 1e9 + 2 * PAGE / 2e9)


@pytest.mark.parametrize("policy", [one.name for one in POLICIES])
def test_hits_never_exceed_what_is_resident(policy: str) -> None:
    """A hit rate is at most C / rho."""
    rng = np.random.default_rng(7)
    slots = 20
    at = point(slots, policy=policy, pinned=slots if policy == "static" else 0)
    machine = Machine([table(65)], at, flash("ufs40"))
    for step in range(50):
        rule = Select("top", k=40, gamma=0.1)
        found = machine.gather(0, rule, rng.standard_normal(65).astype(np.float32), step)
        assert len(found.selected) == 40 and len(found.hits) <= slots


@pytest.mark.parametrize("gamma, reads", [(1.0, True), (0.0, False)])
def test_gamma_prefers_what_is_resident(gamma: float, reads: bool) -> None:
    """DIP-CA: at 1 it is DIP, at 0 nothing is read while enough is resident."""
    rng = np.random.default_rng(8)
    at = point(40, policy="static", pinned=40)
    machine = Machine([table(65)], at, flash("ufs40"), [rng.permutation(65)])
    for step in range(20):
        given = rng.standard_normal(65).astype(np.float32)
        found = machine.gather(0, Select("top", k=30, gamma=gamma), given, step)
        assert bool(len(found.runs)) == reads
        greatest = np.argsort(-np.abs(given), kind="stable")[:30]
        same = np.array_equal(np.sort(machine.indices(0, found.selected)), np.sort(greatest))
        assert same == (gamma == 1)


def test_tables_do_not_know_of_each_other() -> None:
    rng = np.random.default_rng(9)
    tables = [table(63), table(65, 1216, 1216, 1 << 20)]
    both = Machine(tables, point(20, 30), flash("ufs40"))
    alone = [Machine([tables[i]], point((20, 30)[i]), flash("ufs40")) for i in (0, 1)]
    for step in range(10):
        for number in (0, 1):
            given = scores(rng, tables[number].count)
            found = line(step, number, both.gather(number, NONZERO, given, step))
            assert found == line(step, number, alone[number].gather(0, NONZERO, given, step))


def test_another_point_brings_its_policy_and_its_reads() -> None:
    rng = np.random.default_rng(10)
    machine = Machine([table(65)], point(30), flash("ufs40"))
    for step in range(10):
        machine.gather(0, NONZERO, scores(rng, 65), step)
    counts = machine.caches[0].uses.counts.copy()
    less = dataclasses.replace(point(10, policy="lru", cluster=2), max_read=PAGE, gap=0)
    (change,) = machine.change(less)
    assert len(change.moves.evicted) == 20
    assert np.array_equal(machine.caches[0].uses.counts, counts)
    found = machine.gather(0, ALL, None, 10)
    assert (found.runs[:, 1] == PAGE).all() and len(found.hits) == 10
    assert all(len(each.launches) <= 2 for each in found.clusters)


def test_a_line_of_the_trace_says_what_was_done() -> None:
    machine = Machine([table(7, offset=PAGE)], point(2, pinned=1), flash("ufs40"))
    given = np.array([1, 0, 0, 2, 0, 3, 0], np.float32)
    assert json.loads(line(12, 3, machine.gather(0, NONZERO, given, 12))) == {
        "t": 12,
        "g": 3,
        "sel": [0, 3, 5],
        "hit": 1,
        "admit": [[3, 1]],
        "evict": [],
        "runs": [[4 * PAGE, 3 * PAGE]],
        "read": 3 * PAGE,
        "used": 2 * 3648,
    }


@pytest.mark.parametrize("exponent, low, high", [(0.7, 0.77, 0.79), (1.5, 0.94, 0.96)])
def test_half_of_the_records_give_the_hits_that_their_popularity_has(
    exponent: float, low: float, high: float
) -> None:
    """sparsity.md, 5.5: p = min(.95, s (rank / n)^-a), of mean .05 to .10, no locality in time."""
    rng, count = np.random.default_rng(11), 5632
    falling = (np.arange(1, count + 1) / count) ** -exponent
    scales = np.geomspace(1e-4, 1, 400)
    means = np.array([np.minimum(0.95, scale * falling).mean() for scale in scales])
    likely = np.minimum(0.95, scales[np.searchsorted(means, 0.075)] * falling)
    at = point(count // 2, policy="static", pinned=count // 2)
    machine = Machine([table(count)], at, flash("ufs40"))
    found = [
        machine.gather(0, NONZERO, (rng.random(count) < likely).astype(np.float32), step)
        for step in range(200)
    ]
    hits = sum(len(each.hits) for each in found) / sum(len(each.selected) for each in found)
    assert low - 0.005 < hits < high + 0.005


def test_bytes_by_window_are_what_unions_gain() -> None:
    """LLM in a flash, section 3.1: bytes(k) = s_agg(k + 1) - s_agg(k), which falls with k."""
    rows, read = text_of(200, 150), list[int]()
    for window in range(1, 12):
        machine, used = Machine([table(200)], point(200, policy="window"), flash("ufs40")), 0
        for step, row in enumerate(rows):
            machine.caches[0].window = window  # as it is where it doesn't adapt
            outcome = machine.gather(0, NONZERO, row.astype(np.float32), step)
            used += outcome.bytes_used if step >= 20 else 0
        more = sum(union(rows, t, window + 1) - union(rows, t - 1, window) for t in range(20, 150))
        assert used == more * machine.tables[0].bytes
        read.append(used)
    assert read == sorted(read, reverse=True) and read[0] > 1.5 * read[-1]


def text_of(count: int, tokens: int) -> list[np.ndarray]:
    """Of each token which records it needs: often those of the tokens before it."""
    rng, likely, rows = np.random.default_rng(4), np.full(count, 0.1), list[np.ndarray]()
    for _ in range(tokens):
        rows.append(rng.random(count) < likely)
        likely = np.where(rows[-1], 0.5, 0.1 + 0.7 * (likely - 0.1))
    return rows


def union(rows: list[np.ndarray], last: int, steps: int) -> int:
    """s_agg: records that these steps need together."""
    return int(np.any(rows[last + 1 - steps : last + 1], axis=0).sum())
