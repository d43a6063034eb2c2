"""Maps that share a launch with a write into a state: whenever they do, memory ends up the same."""

from typing import Any

import numpy as np
import pytest
from drafts import Memory, run

from opencl_kernels import FAMILIES
from opencl_kernels.map.indexed import SEQ, Operand, floats
from opencl_kernels.map.map import Map
from opencl_kernels.map.maps import MOST_PARTS
from toolkit.compiler.lowering.drafts import Draft, with_joint_maps
from toolkit.plan.schema import HostStep, Ref

SIZE = 12


def map_of(name: str, reads: tuple[int, ...], writes: int, into: str = "", first: Any = 7) -> Draft:
    """y = 0.5 + a0 + a1 …, of places in memory; written in part where `into` says so."""
    value = " + ".join(["0.5", *(f"a{i}[{SIZE - 1} - i0]" for i in range(len(reads)))])
    axes = (first if into else SIZE,)
    case = Map(axes=axes, value=value, inputs=floats(*[SIZE] * len(reads)), into=into,
               elements=SIZE if into else None)  # fmt: skip
    refs: dict[str, Ref] = {f"a{i}": ("scratch", place) for i, place in enumerate(reads)}
    return Draft(name, "map", case, {**refs, "y": ("scratch", writes)})


@pytest.mark.parametrize("seed", range(40))
def test_memory_ends_up_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drafts = [
        map_of(
            *(f"{i}", tuple(rng.choice(9, rng.integers(0, 3), replace=False).tolist())),
            *(int(rng.integers(9)), str(rng.choice(["", "i0 + 3"]))),
        )
        for i in range(12)
    ]
    memory: Memory = {("scratch", i): rng.standard_normal(SIZE) for i in range(9)}
    joined = with_joint_maps(drafts)
    before, after = run(drafts, memory), run(joined, memory)
    for place, array in before.items():
        np.testing.assert_allclose(after[place], array)
    names = [name for each in joined for name in each.name.split(" + ")]
    assert sorted(names) == sorted(each.name for each in drafts)


KEY, VALUE = map_of("k", (0,), 1, "i0 + 3"), map_of("v", (0,), 2, "i0 + 3")
QUERY = map_of("q", (3,), 4)


def names(*drafts: Draft | HostStep) -> list[str]:
    return [getattr(each, "name", "a host step") for each in with_joint_maps(drafts)]


def test_writes_wait_for_the_next_map() -> None:
    assert names(KEY, VALUE, QUERY) == ["k + v + q"]
    assert names(QUERY, KEY) == ["q", "k"]  # not the other way round: only writes wait
    reads_keys, stops = map_of("attention", (1,), 6), HostStep("fetch", ())
    assert names(KEY, reads_keys, QUERY) == ["k", "attention", "q"]
    assert names(KEY, stops, VALUE) == ["k", "a host step", "v"]


def test_a_lone_write_stays_where_it_was() -> None:
    case = FAMILIES["rmsnorm"].cases[0]
    refs: dict[str, Ref] = {name: ("scratch", 7 + i) for i, name in enumerate(("x", "gamma", "y"))}
    norm = Draft("norm", "rmsnorm", type(case)(M=1, D=5, EPS=0.1), refs)
    assert names(KEY, norm, map_of("reads", (1,), 4)) == ["k", "norm", "reads"]
    assert names(KEY, norm, QUERY) == ["norm", "k + q"]


def test_what_one_launch_has_no_room_for() -> None:
    many = [map_of(f"{i}", (0,), 1 + i, "i0 + 3") for i in range(MOST_PARTS + 1)]
    assert names(*many) == ["0 + 1 + 2 + 3", "4"]
    wide = [map_of(f"{i}", (3 * i, 3 * i + 1, 3 * i + 2), 10 + i, "i0 + 3") for i in range(3)]
    assert names(*wide) == ["0 + 1", "2"]  # nine inputs


def test_maps_of_many_rows_keep_their_launches() -> None:
    long = map_of("long", (0,), 2, "i0 + 3", first=SEQ)
    assert names(long, QUERY) == ["long", "q"] and names(KEY, long) == ["k", "long"]


def test_inputs_of_two_types_are_two_inputs() -> None:
    """One place of memory may be read as what it is only: names follow place and type."""
    other = Draft("b", "map", Map(axes=(5,), value="a0[i0] + a1[i0]", inputs=(
        Operand("f32", SIZE), Operand("f16", SIZE))), {"a0": ("scratch", 8), "a1": ("scratch", 0),
                                                        "y": ("scratch", 5)})  # fmt: skip
    (joint,) = with_joint_maps([KEY, other])
    assert isinstance(joint, Draft)
    assert [part.value for part in joint.case.parts] == ["0.5 + a0[11 - i0]", "a1[i0] + a2[i0]"]
    assert joint.refs["a0"] == joint.refs["a2"] == ("scratch", 0)
