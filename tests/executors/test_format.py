"""What a plan says of itself, both executors go by: slots, bounds of phases, fetches, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from toy import CHUNK, C, Toy, fetch

from opencl_kernels.case import Slot, symbol_header
from toolkit.executors.open import open_executor

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35]
Open = Callable[..., Any]


@pytest.fixture(params=["host", "runner"])
def opened(request: pytest.FixtureRequest, cache: Path) -> Open:
    """Opens a plan on either executor."""

    @contextmanager
    def on(folder: Path, **options: Any) -> Iterator[Any]:
        own = {"cache": cache} if request.param == "runner" else {}
        executor = open_executor(folder, request.param, **own, **options)
        try:
            yield executor
        finally:
            executor.close()

    return on


def check_text(toy: Toy, executor: Any) -> None:
    """Generates up to the end of the context, and scores."""
    first = executor.prefill(TEXT, 0)
    ids = list(executor.decode(first, len(TEXT), C, ()))
    assert [first, *ids] == toy.continued(TEXT, C - len(TEXT) + 1)
    assert executor.score(TEXT, 0).argmax(1).tolist() == [
        toy.next(TEXT[:end]) for end in range(1, len(TEXT) + 1)
    ]


def phases_of(executor: Any, run: Callable[[], Any]) -> list[str]:
    """The phases that ran, in order."""
    executor.start_profile()
    run()
    spans = executor.take_profile()
    return [phase for _, phase in sorted({(span.run, span.phase) for span in spans})]


def test_symbols_lie_where_the_plan_says(toy: Toy, opened: Open) -> None:
    slots = {"seq": 6, "past": 2, "rows": 0, "start": 9}
    for symbol in toy.plan["symbols"]:
        symbol["slot"] = slots[symbol["name"]]
    header = symbol_header(Slot(s["name"], s["slot"], s.get("length")) for s in toy.plan["symbols"])
    toy.sources["pick"] = toy.sources["pick"].replace("sym[1] +=", f"sym[{slots['past']}] +=")
    for program in toy.plan["programs"]:
        sizes = [define for define in program["defines"] if define[0] in "VD"]
        program["defines"] = [*map(list, header.items()), *sizes]
    toy.save()
    with opened(toy.folder) as executor:
        check_text(toy, executor)


def test_a_piece_runs_as_the_narrowest_phase(toy: Toy, opened: Open) -> None:
    text = (TEXT * 2)[: CHUNK + 1]
    with opened(toy.folder, profile=True) as executor:
        executor.score(text, 0)  # loads what scores: the runner starts again, and forgets a profile
        ran = phases_of(executor, lambda: executor.prefill(text, 0))
        assert ran == ["prefill", "decode"]
        assert executor.prefill(text, 0) == executor.step(text[-1], CHUNK) == toy.next(text)
        assert phases_of(executor, lambda: executor.score(text, 0)) == ["score"] * 2
        check_text(toy, executor)


@pytest.mark.parametrize("bounds", [[0, 20], [13, C - 1], [15, 18]])
def test_the_phase_changes_with_the_position(toy: Toy, opened: Open, bounds: list[int]) -> None:
    low, high = bounds
    toy.save_json(lambda plan: plan["phases"][1]["bounds"].update(past=bounds))
    with opened(toy.folder, profile=True) as executor:
        first = executor.prefill(TEXT, 0)
        ran = phases_of(executor, lambda: [*executor.decode(first, len(TEXT), 15, ())])
        positions = range(len(TEXT), len(TEXT) + 15)
        assert ran == ["decode" if low <= p <= high else "prefill" for p in positions]
    with opened(toy.folder) as executor:
        check_text(toy, executor)


def test_names_and_order_of_phases_are_for_people(toy: Toy, opened: Open) -> None:
    for phase, name in zip(toy.plan["phases"], ("many", "one", "all"), strict=True):
        phase["name"] = name
    toy.plan["phases"].reverse()
    toy.save()
    with opened(toy.folder) as executor:
        check_text(toy, executor)
        assert executor.stats()["dispatches_per_token"] == 5


def test_a_fetch_is_a_step_in_its_place(toy: Toy, opened: Open) -> None:
    """Handed over before the step that chooses it, an id is the one of the run before."""
    *steps, pick, _, wait = toy.plan["phases"][1]["steps"]
    toy.plan["phases"][1]["steps"] = [*steps, fetch(1), pick, wait]
    toy.save()
    with opened(toy.folder) as executor:
        first = executor.prefill(TEXT, 0)
        assert list(executor.decode(first, len(TEXT), 5, ())) == [0] * 5
        again = list(executor.decode(first, len(TEXT), 5, ()))
        assert [first, *again] == toy.continued(TEXT, 6)


def test_launches_are_sized_for_the_most_that_a_kernel_may_count(toy: Toy, opened: Open) -> None:
    count = {"name": "found", "kind": "count", "min": 0, "max": CHUNK, "slot": 4}
    toy.plan["symbols"].append(count)
    for phase in toy.plan["phases"]:
        phase["steps"][1]["variants"][0]["global"] = [["found", 16, "*"]]
    kernel = toy.sources["remember"]
    toy.sources["remember"] = kernel.replace("  state[", "  if (row < SEQ) state[")
    toy.save()
    with opened(toy.folder) as executor:
        check_text(toy, executor)
