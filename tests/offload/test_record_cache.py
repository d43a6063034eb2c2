"""Caches against a dictionary that is told in words, and the vectors of the papers."""

from __future__ import annotations

import numpy as np
import pytest
from naive_cache import holds, masks, opened

from toolkit.offload.policies import POLICIES, policy, window_for
from toolkit.offload.record_cache import Admission, RecordCache

COUNTS = (1, 7, 63, 65)
MASKS = ((0, 1), (1, 2), (1, 3), (2, 4), (0, 4), (0, 5), (0, 1))  # sparsity.md, appendix A
NAMES = [one.name for one in POLICIES]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", COUNTS)
def test_a_cache_does_what_a_dictionary_does(name: str, count: int) -> None:
    for seed, share in enumerate((0, 0.3, 0.7, 1)):
        slots = round(count * share)
        pinned = slots if name == "static" else slots // 3
        cache, naive = opened(policy(name), count, slots, pinned, seed)
        cache.window = naive.window
        for step, selected in enumerate(masks(count, 60, seed)):
            whole = step % 9 == 4 and len(selected) == count
            found = cache.admit(selected, step, whole)
            hits, streamed, admitted, evicted = naive.admit(selected.tolist(), step, whole)
            assert found.hits.tolist() == hits
            assert found.streamed.tolist() == streamed
            assert [tuple(pair) for pair in found.admitted.tolist()] == admitted
            assert found.evicted.tolist() == evicted
            assert holds(cache) == naive.where
            assert cache.window == naive.window or name != "window"


def all_is_well(cache: RecordCache, found: Admission, selected: np.ndarray) -> None:
    """What holds of every step, whatever the policy."""
    parts = [found.hits, found.admitted[:, 0], found.streamed]
    assert np.array_equal(np.sort(np.concatenate(parts)), selected)  # hits + misses = selected
    held = holds(cache)
    assert len(set(held.values())) == len(held) <= cache.slots
    assert all(0 <= slot < cache.slots for slot in held.values())
    assert all(cache.record_in[slot] == record for record, slot in held.items())
    assert set(range(cache.pinned)) <= set(held)  # pinned never leaves
    assert not set(found.evicted) & set(selected.tolist())


@pytest.mark.parametrize("name", NAMES)
def test_sizes_change_between_steps_and_all_stays_well(name: str) -> None:
    rng = np.random.default_rng(3)
    cache = RecordCache(65, policy(name))
    for step, selected in enumerate(masks(65, 200, 4)):
        if step % 5 == 0:
            before = holds(cache)
            slots = int(rng.choice([0, 1, 20, 40, 65]))
            moves = cache.resize(slots, slots if name == "static" else int(rng.integers(0, 66)))
            placed = dict(moves.moved.tolist()) | dict(moves.admitted.tolist())
            kept = {r: s for r, s in before.items() if r not in moves.evicted} | placed
            assert holds(cache) == kept  # nothing else has moved
            assert all(before[r] >= slots for r in dict(moves.moved.tolist()))
            astray = [r for r, s in before.items() if r != s] if cache.pinned == 65 else []
            if len(before) + len(moves.admitted) - len(astray) <= slots:
                assert moves.evicted.tolist() == astray  # nothing else leaves where there is room
        cache.window = 2
        all_is_well(cache, cache.admit(selected, step), selected)


def test_a_smaller_cache_keeps_what_ranks_highest() -> None:
    cache = RecordCache(7, policy("lfu"))
    cache.resize(7, 0)
    for step, needed in enumerate(([0, 1, 2, 3, 4, 5, 6], [1, 3, 5, 6], [3, 6], [6])):
        cache.admit(np.array(needed), step)
    moves = cache.resize(3, 1)  # counts 1 2 1 3 1 2 4, and 0 is pinned
    assert moves.evicted.tolist() == [2, 4, 1, 5]
    assert moves.moved.tolist() == [[3, 1], [6, 2]]
    assert not len(moves.admitted)
    assert holds(cache) == {0: 0, 3: 1, 6: 2}


def test_more_pinned_records_are_read_and_others_make_room() -> None:
    cache = RecordCache(7, policy("lru"))
    cache.resize(3, 0)
    cache.admit(np.array([4, 5, 6]), 0)
    moves = cache.resize(4, 3)
    assert moves.evicted.tolist() == [4, 5]
    assert moves.admitted.tolist() == [[0, 0], [1, 1], [2, 3]]
    assert holds(cache) == {0: 0, 1: 1, 6: 2, 2: 3}


def test_what_lies_in_memory_whole_lies_in_order() -> None:
    cache = RecordCache(5, policy("lru"))
    cache.resize(3, 0)
    cache.admit(np.array([1, 2, 4]), 0)
    moves = cache.resize(5, 5)
    assert moves.evicted.tolist() == [1, 2, 4]  # from slots 0, 1, 2
    assert moves.admitted.tolist() == [[n, n] for n in range(5)]
    assert cache.resize(3, 1).moved.tolist() == [[4, 1]]  # 1 and 3 left
    moves = cache.resize(5, 5)
    assert moves.evicted.tolist() == [4]
    assert moves.admitted.tolist() == [[1, 1], [3, 3], [4, 4]]
    assert holds(cache) == {n: n for n in range(5)}


@pytest.mark.parametrize(
    "name, hits, kept",
    [
        ("lfu", [0, 1, 1, 1, 1, 1, 2], ["01", "012", "123", "124", "014", "015", "015"]),
        ("lru", [0, 1, 1, 1, 1, 1, 1], ["01", "012", "123", "234", "024", "045", "015"]),
    ],
)
def test_the_vectors_of_the_papers(name: str, hits: list[int], kept: list[str]) -> None:
    cache = RecordCache(6, policy(name))
    cache.resize(3, 0)
    for step, (mask, count, resident) in enumerate(zip(MASKS, hits, kept, strict=True)):
        assert len(cache.admit(np.array(mask), step).hits) == count
        assert "".join(map(str, sorted(holds(cache)))) == resident


def test_a_window_of_one_keeps_what_both_steps_need() -> None:
    cache = RecordCache(9, policy("window"))
    cache.resize(9, 0)
    cache.admit(np.array([1, 3, 7]), 0)
    cache.window = 1
    found = cache.admit(np.array([2, 3, 8]), 1)
    assert (found.hits.tolist(), found.evicted.tolist()) == ([3], [1, 7])
    assert found.admitted[:, 0].tolist() == [2, 8]


@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_window_reads_what_its_union_gains(window: int) -> None:
    """s_agg(k + 1) - s_agg(k): records of this step that none of the k before it needed."""
    cache = RecordCache(65, policy("window"))
    cache.resize(65, 0)
    past: list[set[int]] = []
    for step, selected in enumerate(masks(65, 60, window)):
        cache.window = window
        found = cache.admit(selected, step)
        union = set().union(*past[-window:]) if past else set()
        assert set(found.admitted[:, 0].tolist()) == set(selected.tolist()) - union
        past.append(set(selected.tolist()))
        assert set(holds(cache)) == set().union(*past[-window:])


def test_a_window_adapts_both_ways() -> None:
    """To what fits, whatever it began with; fewer slots shrink it at once, more let it grow."""
    rng, cache = np.random.default_rng(5), RecordCache(400, policy("window"))
    cache.resize(100, 0)
    selections = [np.flatnonzero(rng.random(400) < 0.05) for _ in range(120)]
    found = []
    for step, selected in enumerate(selections):
        if step in (40, 80):
            cache.resize({40: 50, 80: 100}[step], 0)
        cache.admit(selected, step)
        found.append(cache.window)
    assert found[:4] == [2, 3, 4, 5] and max(np.diff(found)) == 1
    assert min(found[20:40]) >= 4 and max(found[45:80]) <= 3 and min(found[100:]) >= 4
    for window, step in ((found[39], 39), (found[79], 79)):
        union = set().union(
            *(set(each.tolist()) for each in selections[step + 1 - window : step + 1])
        )
        assert len(union) <= (100 if step == 39 else 50)


def test_a_window_that_misses_little_does_not_grow() -> None:
    cache = RecordCache(100, policy("window"))
    cache.resize(100, 0)
    for step in range(30):
        cache.admit(np.arange(40), step)
    assert cache.window == 2  # the first step missed all


def test_what_is_read_as_a_whole_expires_nothing() -> None:
    """As in prefill: it fills slots, and what it brought stays until there is need for room."""
    cache = RecordCache(20, policy("window"))
    cache.resize(10, 2)
    cache.window = 3
    cache.admit(np.arange(20), 0, whole=True)
    assert cache.window == 3 and set(holds(cache)) == set(range(10))
    found = cache.admit(np.array([3, 15]), 1)
    assert found.evicted.tolist() == [2] and 9 in holds(cache)


@pytest.mark.parametrize("slots, pinned", [(0, 0), (60, 0), (60, 30), (150, 20)])
def test_a_window_begins_as_it_ends_up(slots: int, pinned: int) -> None:
    rng = np.random.default_rng(slots)
    frequency = np.sort(rng.random(400) ** 8)[::-1]
    cache = RecordCache(400, policy("window"))
    cache.resize(slots, pinned)
    cache.window = begun = window_for(frequency, slots, pinned)
    found = []
    for step in range(200):
        cache.admit(np.flatnonzero(rng.random(400) < frequency), step)
        found.append(cache.window)
    assert 0.6 <= (1 + begun) / (1 + np.median(found)) <= 1.6


def test_a_window_with_room_for_all_begins_where_it_misses_little() -> None:
    frequency = np.full(400, 0.1)
    window = window_for(frequency, 400, 0)
    assert 0.9**window <= 1 / 20 < 0.9 ** (window - 1)
    assert window_for(np.zeros(400), 400, 0) == 1 and window_for(frequency, 0, 0) == 1


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_allocated_or_moved_between_steps(name: str) -> None:
    """Slots are reused: who stays keeps its own, and only what is admitted is written."""
    cache = RecordCache(65, policy(name))
    cache.resize(30, 30 if name == "static" else 7)
    arrays = every(cache)
    for step, selected in enumerate(masks(65, 100, 3)):
        before = holds(cache)
        found = cache.admit(selected, step, whole=len(selected) == 65)
        after, written = holds(cache), dict(found.admitted.tolist())
        assert all(a is b for a, b in zip(arrays, every(cache), strict=True))
        assert after == {r: s for r, s in before.items() if r not in found.evicted} | written
        assert written.keys() <= set(selected.tolist()) - before.keys()


def every(cache: RecordCache) -> tuple[np.ndarray, ...]:
    return cache.slot_of, cache.record_in, cache.uses.counts, cache.uses.last


def test_what_never_came_is_in_no_slot() -> None:
    cache = RecordCache(7, policy("lru"))
    cache.resize(7, 0)
    cache.admit(np.array([1, 2, 3]), 0)
    cache.lose(np.array([2, 5]))
    assert holds(cache) == {1: 0, 3: 2}
    assert cache.admit(np.array([2]), 1).admitted.tolist() == [[2, 1]]
