"""Gathers that read gates first, and the rest of records whose gate isn't zero."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_executors import IDS
from flash_toy import PAGE, F
from two_phase_toy import SUPERSET, TwoPhaseToy

from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.access_trace import entry
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.offload.points import choose_point
from toolkit.offload.selection import at_point
from toolkit.plan.load import load_plan

EXECUTORS = [HostExecutor, RunnerExecutor]


@pytest.mark.parametrize("of", EXECUTORS)
def test_answers_stay_and_pages_of_zero_gates_are_spared(tmp_path: Path, of: Any) -> None:
    toy = TwoPhaseToy(tmp_path / "toy")
    executor = of(toy.folder, memory=100_000, trace=tmp_path / "trace")
    first = executor.prefill(IDS, 0)
    assert list(executor.decode(first, len(IDS), 15, ())) == toy.continued([*IDS, first], 15)
    told = executor.stats()["tables"]
    executor.close()
    lines = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    firsts = [line["first"] for line in lines if "first" in line]
    left = sum(len(first["left"]) for first in firsts)
    assert len(firsts) > 9 and told["left"] == left > 9
    assert told["spared_bytes"] == left * PAGE
    assert told["used_bytes"] <= told["read_bytes"]
    scores = iter(np.fromfile(tmp_path / "trace.scores", "<f4").reshape(-1, F))
    plan = load_plan(toy.folder)
    point = choose_point(plan, 100_000)
    machine = Machine(plan.tables, point, Flash("none"), [toy.layers[0].order, None])
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    for line in lines:
        gather, glimpse, rest = gathers[line["g"]], None, np.zeros(0, np.int64)
        rule = at_point(gather.select, point.select[line["g"]])
        given = None if rule.by == "all" else next(scores)
        if "first" in line:
            assert given is not None
            glimpse = machine.glimpse(0, rule, given, 64)
            seen = toy.layers[0].order[glimpse.records]
            rest = glimpse.records[given[seen] <= 0]  # the gates are the scores here
            assert (given[toy.layers[0].order[line["sel"]]] > SUPERSET).all()
        told = (line["t"], gather.tile, glimpse, rest)
        assert line == entry(line["t"], line["g"], machine.gather(gather.table, rule, given, *told))
