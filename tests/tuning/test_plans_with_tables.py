"""Tuning of plans with weights in flash: the kernels inside of gathers are tuned like others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import DEMO
from flash_networks import made

import toolkit
from opencl_kernels.tuned import values_of
from toolkit.executors.host import HostExecutor
from toolkit.executors.spans import Span
from toolkit.plan.load import load_plan
from toolkit.plan.reader import from_json
from toolkit.plan.schema import Gather, Plan, dispatches_of
from toolkit.plan.text import to_json
from toolkit.tuning.candidate import layout_of, seconds_of
from toolkit.tuning.candidate_plan import Choice, tunable, with_knobs, write_candidate
from toolkit.tuning.tuner import tune

IDS = [1, 5, 9, 2, 6, 5, 3, 5, 8]


@pytest.fixture(scope="module")
def tabled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "tabled.plan"
    sizes: Any = {"max_context": 32, "prefill_chunk": 8, "weights": "e0m4", "memory": "80%"}
    toolkit.compile(DEMO, path, device="pocl", tuned=False, **sizes)
    return path


@pytest.fixture(scope="module")
def choosing(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of gates that are a ReLU, by which a device chooses."""
    folder = tmp_path_factory.mktemp("choosing")
    return load_plan(made(folder, "reglu", device="pocl", tuned=False).path)


def run_by(plan: Plan) -> list[tuple[Any, ...]]:
    """Of each phase and step, inside of gathers too: the kernel, its source and its case."""
    plan = from_json(to_json(plan))  # cases as they are read
    return [
        (phase.name, each.name, each.args, program.kernel, program.source, program.case)
        for phase in plan.phases
        for each in phase.dispatches()
        for program in (plan.programs[variant.program] for variant in each.variants)
    ]


def others(plan: Plan) -> Choice:
    """The last values of all knobs of what can be tuned."""
    kind = str(plan.profile["class"])
    return {
        site: {name: values_of(each.kernel, name, kind)[-1] for name in each.kernel.knobs}
        for site, each in tunable(plan).items()
    }


def answers(folder: Path) -> np.ndarray:
    """Logits of a prompt and of a token behind it."""
    executor = HostExecutor(folder)
    try:
        executor.prefill(IDS, 0)
        first = executor.logits().copy()
        executor.step(7, len(IDS))
        return np.stack([first, executor.logits()])
    finally:
        executor.close()


def test_other_knobs_run_and_compute_the_same(tabled: Path, tmp_path: Path) -> None:
    """Programs get other numbers: what a gather launches goes by these, too."""
    plan = load_plan(tabled)
    assert {site[0] for site in tunable(plan)} >= {"neurons_cpu", "gemm_cpu"}
    changed = with_knobs(plan, others(plan))
    assert run_by(changed) == run_by(plan) and changed.programs != plan.programs
    write_candidate(tmp_path / "candidate.plan", tabled, changed)
    read = load_plan(tmp_path / "candidate.plan")
    assert run_by(read) == run_by(plan)
    np.testing.assert_allclose(
        answers(tmp_path / "candidate.plan"), answers(tabled), rtol=1e-4, atol=1e-4
    )


def test_one_kernel_inside_of_gathers_is_changed_alone(tabled: Path) -> None:
    plan = load_plan(tabled)
    choice = {site: knobs for site, knobs in others(plan).items() if site[0] == "neurons_cpu"}
    changed = with_knobs(plan, choice)
    assert run_by(changed) == run_by(plan)
    for phase, before in zip(changed.phases, plan.phases, strict=True):
        for step, old in zip(phase.dispatches(), before.dispatches(), strict=True):
            new, was = (
                p.programs[d.variants[0].program] for p, d in ((changed, step), (plan, old))
            )
            assert (new.defines != was.defines) == (new.kernel == "neurons_cpu")


def test_what_is_launched_again_is_known_by_where_its_gather_begins(choosing: Plan) -> None:
    """What chooses among records in memory comes once, before what is launched again."""
    plan = choosing
    for name, listed in layout_of(plan).items():
        phase, number = plan.phase(name), 0
        assert phase is not None and phase.gathers()
        for step in phase.steps:
            gathers = isinstance(step, Gather)
            chooses = isinstance(step, Gather) and step.choose is not None
            begin = number + chooses
            for each in dispatches_of(step):
                again = begin if gathers else number + 1
                assert (listed[number][0], listed[number][2]) == (each.name, again)
                number += 1
        assert number == len(listed)


@pytest.mark.parametrize("resident", [True, False])
def test_each_launch_of_a_gather_counts_for_its_kernel(choosing: Plan, resident: bool) -> None:
    """In one go behind what chooses, or one part after the other, which the host has chosen."""
    plan = choosing
    phase = plan.phase("decode")
    assert phase is not None and any(gather.choose for gather in phase.gathers())
    kernels = list[tuple[str, str]]()  # of each launch: its step and its kernel
    for step in phase.steps:
        launched = step.dispatches * 3 if isinstance(step, Gather) else dispatches_of(step)
        for each in dispatches_of(step) if resident else launched:
            kernels.append((each.name, plan.programs[each.variants[0].program].kernel))
    run = [Span(0, "decode", *each, *(i, i, i, i + 1)) for i, each in enumerate(kernels)]
    found = seconds_of([run], layout_of(plan))
    for name in ("choose_cpu", "neurons_cpu"):
        count = [kernel for _, kernel in kernels].count(name)
        assert bool(count) == (resident or name == "neurons_cpu")
        seconds = [time for (kernel, _), time in found.items() if kernel == name]
        assert sum(seconds) == pytest.approx(1e-9 * count)


@pytest.mark.slow
def test_a_real_run_times_them(tabled: Path, own_cache: Path) -> None:
    found = tune(tabled, kernels=["neurons_cpu"], repeats=1)
    assert {row["kernel"] for row in found["kernels"]} == {"neurons_cpu"}
    assert all(row["default_s"] > 0 for row in found["kernels"])
