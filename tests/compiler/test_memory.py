"""The memory of a phase: lifetimes and sizes of its scratch, and what is reported of its arena."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from toolkit.compiler.memory.phases import place_phase
from toolkit.errors import PocketError
from toolkit.plan.arena import lifetimes
from toolkit.plan.expr import symbol
from toolkit.plan.figures import figures, formulas, report
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Dispatch, Phase, Scratch, WaitStep

ALIGN = 128
SEQ = symbol("seq")


def chain(sizes: list[Any], queues: tuple[int, ...] = (0,)) -> Phase:
    """Step i reads scratch i and writes scratch i + 1."""
    scratch = tuple(Scratch(f"t{i}", "f32", (s,), 4 * s) for i, s in enumerate(sizes))
    steps = tuple(
        Dispatch(queues[i % len(queues)], f"s{i}", (("scratch", i), ("scratch", i + 1)), (1,), ())
        for i in range(len(sizes) - 1)
    )
    return Phase("run", "model", {"seq": (1, 10)}, True, scratch, (*steps, WaitStep(queues[0])))


def test_a_chain_needs_two_neighbours() -> None:
    phase = place_phase(chain([SEQ * 64, SEQ * 32, SEQ * 64, SEQ * 32]), {"seq": (1, 99)}, ALIGN)
    assert phase.arena_bytes == phase.lower_bound_bytes == 4 * 96 * 10
    assert [s.bytes for s in phase.scratch] == [2560, 1280, 2560, 1280]
    assert formulas(phase, ALIGN) == ("128*seq + 2560", "384*seq")  # offset and size of the top


def test_lifetimes_are_first_to_last_use() -> None:
    assert [(i.first, i.last) for i in lifetimes(chain([1, 1, 1]))] == [(0, 0), (0, 1), (1, 1)]


def test_several_queues_share_nothing() -> None:
    phase = place_phase(chain([SEQ] * 4, queues=(0, 1)), {"seq": (1, 99)}, ALIGN)
    assert len({s.offset for s in phase.scratch}) == 4


def test_the_bounds_of_the_phase_narrow_the_box() -> None:
    past = symbol("past")
    phase = place_phase(chain([SEQ + past, 1]), {"seq": (1, 99), "past": (0, 5)}, ALIGN)
    assert phase.scratch[0].bytes == 60
    with pytest.raises(PocketError, match="no upper bound") as caught:
        place_phase(chain([SEQ + past, 1]), {"past": (0, None)}, ALIGN)
    assert "past" in caught.value.because


def test_no_scratch_at_all() -> None:
    phase = place_phase(Phase("run", "model", {}, True, (), ()), {}, ALIGN)
    assert (phase.arena_bytes, phase.lower_bound_bytes) == (0, 0)
    assert formulas(phase, ALIGN) == ("0", "0")


def test_same_phase_same_places() -> None:
    first, second = (place_phase(chain([SEQ * k for k in (3, 9, 4, 9)]), {}, 64) for _ in "ab")
    assert first == second
    assert dataclasses.replace(first, arena_bytes=0) != first


def test_report_of_a_plan(plan_path: Path) -> None:
    plan = load_plan(plan_path)
    text = report(plan)
    for part in ("weights", "layers.0.k", "prefill", "decode", "score", "64*seq", "1,280 bytes"):
        assert part in text
    known = figures(plan)
    assert known["state_bytes"] == 40 * 8 * 4
    assert known["arena_bytes"].keys() == {"prefill", "decode", "score"}
    assert known["weight_bytes"] == 2 * 4 * 23 * 8
