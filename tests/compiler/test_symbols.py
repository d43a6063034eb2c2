"""A plan's symbols, and the header by which its kernels read them."""

from pathlib import Path

import pytest

import toolkit
from opencl_kernels.case import symbol_header, symbols_of_texts
from toolkit.cli.demo import MODEL
from toolkit.plan.schema import Plan

SIZES = {"device": "pocl", "max_context": 32, "prefill_chunk": 8}


@pytest.fixture(scope="module", params=[1, 3])
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    out: Path = tmp_path_factory.mktemp("plan") / "a.plan"
    return toolkit.compile(MODEL, out, batch=request.param, **SIZES).plan


def test_each_program_has_the_header_of_the_plans_symbols(plan: Plan) -> None:
    header = symbol_header(plan.symbols)
    assert all(
        header.items() <= dict(p.defines).items() for p in plan.programs if p.kernel != "steps"
    )


def test_kernels_are_tested_with_the_header_of_plans(plan: Plan) -> None:
    assert symbol_header(plan.symbols) == symbol_header(symbols_of_texts(plan.model["batch"]))


def test_a_header_names_slots_wherever_they_are(plan: Plan) -> None:
    batch = plan.model["batch"]
    start = "sym[3]" if batch == 1 else "sym[3+(b)]"
    expected = {"SEQ": "sym[0]", "PAST": "sym[1]", "ROWS": "sym[2]", "START(b)": start}
    assert symbol_header(plan.symbols) == expected
    assert plan.slots == 3 + batch


def test_states_are_said_by_layer(plan: Plan) -> None:
    layers = [f"layers.{i}" for i in range(plan.model["layers"])]
    assert [(s.group, s.part) for s in plan.states] == [(g, p) for g in layers for p in "kv"]
    for state in plan.states:
        buffer = plan.buffers[state.buffer]
        assert buffer.name == f"{state.group}.{state.part}" and buffer.kind == "state"
        assert (state.update, state.capacity, state.axis) == ("append", 32, 2)
        assert state.axis is not None and buffer.shape[state.axis] == state.capacity
