"""Placement: nothing alive overlaps, and the arena meets its lower bound or comes near it."""

import random
from collections.abc import Callable, Iterator

import pytest

from toolkit.compiler.memory.placement import place
from toolkit.plan.arena import Lifetime, lower_bound, overlap, peak, round_up

ALIGN = 128
Items = list[Lifetime]
Size = Callable[[random.Random], int]


def alive_together(a: Lifetime, b: Lifetime) -> bool:
    return a.first <= b.last and b.first <= a.last


def pairs(items: Items) -> Iterator[tuple[int, int]]:
    """Indices of all that are alive together."""
    for j, b in enumerate(items):
        yield from ((i, j) for i, a in enumerate(items[:j]) if alive_together(a, b))


def share_bytes(items: Items, offsets: list[int], i: int, j: int) -> bool:
    return offsets[i] < offsets[j] + items[j].nbytes and offsets[j] < offsets[i] + items[i].nbytes


def ratio(items: Items) -> float:
    """Of the arena to its lower bound, after a look at the offsets."""
    offsets = place(items, ALIGN)
    assert all(offset >= 0 and offset % ALIGN == 0 for offset in offsets)
    assert not any(share_bytes(items, offsets, i, j) for i, j in pairs(items))
    return peak(items, offsets, ALIGN) / lower_bound(items, ALIGN)


def few_items(seed: int) -> Items:
    """Up to 60 of sizes around the alignment and far from it."""
    generator = random.Random(seed)
    sizes = (1, 127, 128, 129, 1000, 4096, 4097, 100_000)
    items = []
    for _ in range(generator.randint(0, 60)):
        first = generator.randint(0, 40)
        items.append(Lifetime(generator.choice(sizes), first, first + generator.randint(0, 9)))
    return items


def crowd(seed: int, count: int, size: Size, alive: int = 30) -> Items:
    """Always as many alive: each step ends one to four, and as many begin."""
    generator, items, living = random.Random(seed), Items(), list[tuple[int, int]]()
    for step in range(count):
        while len(living) < alive:
            living.append((size(generator), step))
        for _ in range(generator.randint(1, 4)):
            nbytes, first = living.pop(generator.randrange(alive - 4))
            items.append(Lifetime(nbytes, first, step))
        if len(items) >= count:
            break
    return items


def scattered(seed: int, count: int, size: Size, alive: int = 30) -> Items:
    """At most as many alive, which begin and end anywhere."""
    generator, items = random.Random(seed), Items()
    living = [0] * (count // 2 + 40)
    while len(items) < count:
        first = generator.randrange(count // 2)
        steps = range(first, first + generator.randint(1, 40))
        if max(living[step] for step in steps) < alive:
            items.append(Lifetime(size(generator), steps[0], steps[-1]))
            for step in steps:
                living[step] += 1
    return items


def decoder(layers: int, model: int, heads: int, inner: int) -> Items:
    """A decoder whose branches are scaled before they are added, so that each sum is a step."""
    items, begin = [Lifetime(model, 0, 1)], 1
    for layer in range(layers):
        norm = begin + (layer == 0)  # later layers' norms are one step with the sum before them
        middle = norm + 6
        sizes = (model, heads, model, model, model)  # norm, qkv, rotated q, attention, projection
        items += [Lifetime(model, begin, middle)]
        items += [Lifetime(size, norm + i, norm + i + 1) for i, size in enumerate(sizes)]
        items += [Lifetime(model, norm + 5, middle), Lifetime(model, middle, middle + 4)]
        sizes = (model, inner, model, model)  # norm, gated product, projection, scaled
        items += [Lifetime(size, middle + i, middle + i + 1) for i, size in enumerate(sizes)]
        begin = middle + 4
    return items


def lowest_gaps(items: Items, order: list[int]) -> list[int]:
    """Greedy as it is written in the paper."""
    offsets: dict[int, int] = {}
    for i in order:
        offset = 0
        for start, j in sorted((offsets[j], j) for j in offsets):
            if alive_together(items[i], items[j]):
                if offset + items[i].nbytes <= start:
                    break
                offset = max(offset, start + round_up(items[j].nbytes, ALIGN))
        offsets[i] = offset
    return [offsets[i] for i in range(len(items))]


def uniform(generator: random.Random) -> int:
    return generator.randint(1, 1_000_000)


def logarithmic(generator: random.Random) -> int:
    return int(10 ** generator.uniform(2, 7))


def of_a_network(generator: random.Random) -> int:
    return generator.choice((49152, 49152, 49152, 81920, 16384, 65536, 1024, 192, 131072))


SIZES: tuple[Size, ...] = (uniform, logarithmic, of_a_network)


@pytest.mark.parametrize("seed", range(300))
def test_random_lifetimes_do_not_overlap(seed: int) -> None:
    items = few_items(seed)
    by_step = [
        sum(round_up(i.nbytes, ALIGN) for i in items if i.first <= step <= i.last)
        for step in range(60)
    ]
    assert lower_bound(items, ALIGN) == max(by_step)
    assert not items or 1 <= ratio(items) < 1.05


def test_thirty_alive_need_hardly_more_than_the_bound() -> None:
    families = [(make, size) for make in (crowd, scattered) for size in SIZES]
    ratios = [ratio(make(0, 200, size)) for make, size in families]
    assert sum(ratios) / len(ratios) < 1.02
    assert max(ratios) < 1.1


@pytest.mark.parametrize("layers", [1, 2, 40])
@pytest.mark.parametrize("sizes", [(96, 160, 160), (768, 1024, 1280), (2560, 3584, 4096)])
def test_a_decoder_with_scaled_branches_meets_the_bound(
    layers: int, sizes: tuple[int, int, int]
) -> None:
    assert ratio(decoder(layers, *(512 * size for size in sizes))) == 1


def test_where_greedy_meets_the_bound_its_offsets_stay() -> None:
    met = 0
    for seed in range(100):
        items = few_items(seed)
        offsets = lowest_gaps(items, sorted(range(len(items)), key=lambda i: -items[i].nbytes))
        if peak(items, offsets, ALIGN) == lower_bound(items, ALIGN):
            met += 1
            assert place(items, ALIGN) == offsets
    assert met > 50


def test_the_bound_can_be_out_of_reach() -> None:
    """Of 4 bytes, what is alive at step 3 leaves the two halves or the middle.

    The pairs of step 0 fill one half each, so that each half holds one of the long singles; a pair
    that begins at step 3 lies between them, and at step 4 the other finds no two bytes together.
    """
    spans = [(2, 0, 0), (2, 0, 1), (1, 1, 2), (1, 2, 2), (1, 1, 3), (1, 2, 3), (2, 3, 4), (2, 4, 4)]
    items = [Lifetime(*span) for span in spans]
    assert (lower_bound(items, 1), peak(items, place(items, 1), 1)) == (4, 5)


def test_same_lifetimes_same_offsets() -> None:
    items = crowd(5, 100, uniform)
    assert place(items, ALIGN) == place(list(items), ALIGN)


def test_none_one_and_all_at_once() -> None:
    assert place([], ALIGN) == []
    assert place([Lifetime(1000, 3, 3)], ALIGN) == [0]
    together = [Lifetime(size, 0, 9) for size in (1, 129, 128)]
    assert place(together, ALIGN) == [384, 0, 256]
    assert place([Lifetime(0, 0, 9)] * 3, ALIGN) == [0, 0, 0]


def test_empty_ones_are_in_nobodys_way() -> None:
    items = crowd(1, 100, of_a_network)
    mixed = [*items, *(Lifetime(0, item.first, item.last) for item in items[::3])]
    assert ratio(mixed) == ratio(items)


def test_sizes_may_be_huge() -> None:
    items = decoder(2, 96, 160, 160)
    assert ratio([Lifetime(item.nbytes << 60, item.first, item.last) for item in items]) == 1


def test_five_thousand() -> None:
    items = crowd(0, 5000, of_a_network)
    assert len(items) >= 5000
    offsets = place(items, ALIGN)
    assert overlap(items, offsets) is None
    assert peak(items, offsets, ALIGN) <= 1.02 * lower_bound(items, ALIGN)


def test_five_thousand_one_after_the_other() -> None:
    generator = random.Random(0)
    items = [Lifetime(uniform(generator), i, i + 1) for i in range(5000)]
    offsets = place(items, ALIGN)
    assert not any(share_bytes(items, offsets, i, i + 1) for i in range(4999))
    assert peak(items, offsets, ALIGN) == lower_bound(items, ALIGN)


@pytest.mark.parametrize("seed", range(100))
def test_an_overlap_is_found_where_there_is_one(seed: int) -> None:
    generator = random.Random(seed)
    items = [item for item in few_items(seed) if item.nbytes < 5000][:12]
    offsets = [128 * generator.randrange(200) for _ in items]
    faults = {p for p in pairs(items) if share_bytes(items, offsets, *p)}
    found = overlap(items, offsets)
    assert (found is None) == (not faults)
    if found:
        assert tuple(sorted(found)) in faults
        assert offsets[found[0]] <= offsets[found[1]]
