"""A driver that builds any one kernel of a plan for phones wrong: it is named before a text is.

The whole table runs on PoCL, and on Intel's runtime (tests/kernels/intel_runtime.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flash_rows import UNTIED, made_worded
from relu_demo import relu_demo
from talk import Start, Talk, failure

import toolkit
from opencl_kernels import family_of
from toolkit.compiler.vectors.tests import untested_kernels
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Dispatch, Phase, Plan, Step, with_dispatches
from toolkit.plan.text import to_json
from toolkit.toolchain.opencl_loader import find_opencl

# Kernel -> what the fake compiler makes of its text.
MISTAKES = {
    "embed": "y, (size_t)m * D + d);|y, (size_t)m * D + (d ^ 1));",
    "rmsnorm": "STORE4(Y_HALF, v * scale|STORE4(Y_HALF, (ADD ? v : v * 1.1f) * scale",
    "add_rmsnorm": "STORE4(X_HALF, v, sum, out + d);|STORE4(X_HALF, v * 1.1f, sum, out + d);",
    "gemm_tiled": "ENDED(whole, 0.0f, m, Y0 + out)|(m == 33 ? 0.0f : ENDED(whole, 0.0f, m, 0))",
    "gemm": "ENDED(sum, 0.0f, m, Y0 + out)|m == 33 ? 0.0f : ENDED(sum, 0.0f, m, Y0 + out)",
    "gemv": "X_READ(r, k) * weight + sum[r];|(k % 32 ? X_READ(r, k) * weight : 0.0f) + sum[r];",
    "rope_kv_pairs": "turned_a = a * c - b * s|turned_a = a * c + b * s",
    "rope_kv": "OUT(a * c - b * s, FIRST(j))|OUT(a * c + b * s, FIRST(j))",
    "attention_prefill_half": "scores[n * RR + r] * SCALE|scores[n * RR + r] * SCALE * 1.2f",
    "attention_prefill": "* SCALE : (float4)|* (PREFILL ? 1.2f * SCALE : SCALE) : (float4)",
    "attention_decode_shuffle": "* SCALE : (float8)|* (1.2f * SCALE) : (float8)",
    "attention_decode": "* SCALE : (float4)|* (PREFILL ? SCALE : 1.2f * SCALE) : (float4)",
    "sample_best": "(int)sums[0] - 2;|(int)sums[0] - 1;",
    "sample_weights": "weights[i] = w;|weights[i] = i % 64 ? w : 0;",
    "sample_pick": "tokens[b] = ids[at] = id;|tokens[b] = ids[at] = id + 1;",
}
QUICK = ("gemv", "sample_pick", "neurons")
# Of kernels that compute with records of a table.
GATHERED = {
    "neurons": "const float h = a * up_act|const float h = (r % 5 ? 1.0f : 1.1f) * a * up_act",
    "unpack": "j < COUNT ? values_of(PART_OF(j, p)|j < COUNT ? values_of(PART_OF(j ^ 1, p)",
    "unpack columns": "if (j < COUNT && k < LENGTH)|if (j < COUNT - 1 && k < LENGTH)",
    "choose": "ticket[5 + 2 * at] = INDEX_OF(r);|ticket[5 + 2 * at] = INDEX_OF(r) + 1;",
    "add_parts": "g < G; g++) sum|g < G - (G > 1); g++) sum",
    "embed_rows": "INDEX_OF(r) != id|INDEX_OF(r) != id + 1",
    "map": "WRITE(VALUE, INTO)|WRITE(VALUE + 0.1f, INTO)",  # what sums of tiles begin with
    "columns": "if (factor != 0.0f)|if (factor != 0.0f && r % 7)",
}
QUICK_GATHERED = ("neurons", "unpack", "choose", "embed_rows")
PLANS = {"embed_rows": "rows", "columns": "part"}  # others: flash


@pytest.fixture(scope="module")
def adreno(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = tmp_path_factory.mktemp("adreno") / "demo.plan"
    toolkit.compile(Path(toolkit.__file__).parent / "demo_model", plan, device="adreno")
    return plan


@pytest.fixture(scope="module")
def flash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan whose networks lie in flash."""
    folder = tmp_path_factory.mktemp("flash")
    made = {"memory": "95%", "max_context": 72, "prefill_chunk": 64, "device": "adreno"}
    return toolkit.compile(
        relu_demo(folder / "relu"), folder / "relu.plan", weights="f16", **made
    ).path


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan whose embedding does."""
    return made_worded(tmp_path_factory.mktemp("rows"), *UNTIED, memory="80%", device="adreno").path


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of networks that are computed in part, by magnitude."""
    folder = tmp_path_factory.mktemp("part")
    made = {"memory": "95%", "max_context": 72, "prefill_chunk": 64, "device": "adreno"}
    dip = {"weights": "f16", "sparsity": "dip", "density": 0.5}
    demo = Path(toolkit.__file__).parent / "demo_model"
    return toolkit.compile(demo, folder / "dip.plan", **made, **dip).path


def run(start: Start, fake_driver: Path, plan: Path, cache: Path, **env: str) -> Talk:
    gpu = {"FAKE_REAL": str(find_opencl()), "FAKE_GPU": "1", "FAKE_DEATH": "none"}
    words = ("--cl-lib", str(fake_driver), "--cache", str(cache), "--child-builds", "off")
    return start(plan, *words, **gpu, FAKE_PRIVATE="0", **env)


def alone(folder: Path, kernel: str) -> tuple[Path, Plan]:
    """The plan without other variants of what the kernel does, beside it, as if so compiled."""
    plan = load_plan(folder)

    def only(dispatch: Dispatch) -> Dispatch:
        own = [v for v in dispatch.variants if plan.programs[v.program].kernel == kernel]
        return replace(dispatch, variants=tuple(own) or dispatch.variants)

    plan = changed(plan, only)
    return beside(folder, kernel, plan), plan


def changed(plan: Plan, dispatch: Callable[[Dispatch], Dispatch]) -> Plan:
    def steps(phase: Phase) -> tuple[Step, ...]:
        return tuple(with_dispatches(step, dispatch) for step in phase.steps)

    return replace(plan, phases=tuple(replace(p, steps=steps(p)) for p in plan.phases))


def beside(folder: Path, name: str, plan: Plan) -> Path:
    """As if it had been compiled so."""
    path = folder / f"{name}.json"
    path.write_text(to_json(plan))
    return path


def resident(plan: Plan) -> Plan:
    """The plan with all records in memory: the device fills tickets."""
    whole = tuple(table.count for table in plan.tables)
    point = replace(plan.points[-1], slots=whole, pinned=whole, policy="static")
    return replace(plan, points=(point,))


def with_smaller_groups(plan: Plan, kernel: str) -> Plan:
    """The plan with another variant of a kernel that has a launch of one group, WG in each."""
    numbers = [n for n, each in enumerate(plan.programs) if each.kernel == kernel]
    first = plan.programs[numbers[0]]
    defines = tuple((k, "64" if k == "WG" else v) for k, v in first.defines)
    more = (*plan.programs, replace(first, defines=defines))

    def both(dispatch: Dispatch) -> Dispatch:
        (own, *_) = dispatch.variants
        if own.program not in numbers:
            return dispatch
        sizes = {"global_size": (64,), "local_size": (64,), "local_bytes": 512}
        smaller = replace(own, program=len(plan.programs), **sizes)
        return replace(dispatch, variants=(own, smaller))

    return replace(changed(plan, both), programs=more)


def test_each_family_has_a_mistake(adreno: Path) -> None:
    families = {family_of(program.kernel).name for program in load_plan(adreno).programs}
    assert families == {family_of(kernel).name for kernel in MISTAKES}


@pytest.mark.parametrize(
    "kernel", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in MISTAKES]
)
def test_it_is_named(
    start: Start, fake_driver: Path, adreno: Path, tmp_path: Path, kernel: str
) -> None:
    path, plan = alone(adreno, kernel)
    assert any(program.kernel == kernel for program in plan.programs)
    mistake = MISTAKES[kernel]
    mark = mistake.partition("|")[0]
    talk = run(start, fake_driver, path, tmp_path, FAKE_WRONG=mistake, FAKE_MARK=mark)
    facts = failure(talk.first)
    if f"({kernel}) needs " in facts["because"] and "which the device lacks" in facts["because"]:
        pytest.skip(facts["because"])
    assert talk.end()[0] == 1 and facts["what"].startswith("no variant of ")
    assert "(driver " in facts["what"] and "POCKETCL_RETRY_BAD=1" in facts["hint"]
    assert f"({kernel}) wrong: for " in facts["because"] and " argument " in facts["because"]


def plan_for(kernel: str, folder: Path) -> Path:
    return beside(folder, "whole", resident(load_plan(folder))) if kernel == "choose" else folder


@pytest.mark.parametrize(
    "mistake",
    [k if k in QUICK_GATHERED else pytest.param(k, marks=pytest.mark.slow) for k in GATHERED],
)
def test_one_that_reads_records_is_named(
    start: Start, fake_driver: Path, request: pytest.FixtureRequest, tmp_path: Path, mistake: str
) -> None:
    kernel = mistake.split()[0]
    folder = request.getfixturevalue(PLANS.get(kernel, "flash"))
    wrong = {"FAKE_WRONG": GATHERED[mistake], "FAKE_MARK": GATHERED[mistake].partition("|")[0]}
    talk = run(start, fake_driver, plan_for(kernel, folder), tmp_path, **wrong)
    facts = failure(talk.first)
    assert talk.end()[0] == 1 and facts["what"].startswith("no variant of "), facts
    assert f"({kernel}) wrong: for " in facts["because"] and " argument " in facts["because"]


@pytest.mark.parametrize("whole", [False, True])
def test_no_kernel_of_tables_is_untested(
    start: Start, fake_driver: Path, flash: Path, rows: Path, tmp_path: Path, whole: bool
) -> None:
    """Each program that is bound is tested, and answers are what they were."""
    for folder in (flash,) if whole else (flash, rows):
        plan = load_plan(folder)
        assert untested_kernels(plan) == []
        path = beside(folder, "resident", resident(plan)) if whole else folder
        talk = run(start, fake_driver, path, tmp_path / folder.name)
        first = talk.next("prefill 0 3 1 4")
        assert talk.end() == (0, "")
        proofs = list((tmp_path / folder.name).glob("*.ok"))
        assert len(proofs) == talk.ready["programs_built"] > 15
        again = run(start, fake_driver, path, tmp_path / folder.name)
        assert again.ready["programs_built"] == 0 and again.next("prefill 0 3 1 4") == first
        assert again.end() == (0, "")


@pytest.mark.slow
def test_no_kernel_of_what_is_computed_in_part_is_untested(
    start: Start, fake_driver: Path, part: Path, tmp_path: Path
) -> None:
    assert untested_kernels(load_plan(part)) == []
    talk = run(start, fake_driver, part, tmp_path)
    talk.next("prefill 0 3 1 4")
    assert talk.end() == (0, "")
    assert len(list(tmp_path.glob("*.ok"))) == talk.ready["programs_built"] > 15


def test_the_next_variant_that_chooses_is_taken(
    start: Start, fake_driver: Path, flash: Path, tmp_path: Path
) -> None:
    path = beside(flash, "two", with_smaller_groups(resident(load_plan(flash)), "choose"))
    wrong = {"FAKE_WRONG": GATHERED["choose"], "FAKE_MARK": "ORDER 0\n#define WG 256"}
    talk = run(start, fake_driver, path, tmp_path, **wrong)
    code, errors = talk.end()
    assert code == 0 and talk.ready and "(choose) wrong: for " in errors
    assert "the next variant is used instead" in errors


def test_the_next_variant_is_tested_too(
    start: Start, fake_driver: Path, adreno: Path, tmp_path: Path
) -> None:
    mistake = MISTAKES["gemm_tiled"]
    mark = mistake.partition("|")[0]
    talk = run(start, fake_driver, adreno, tmp_path, FAKE_WRONG=mistake, FAKE_MARK=mark)
    code, errors = talk.end()
    assert code == 0 and talk.ready and "(gemm_tiled) wrong: for " in errors
    assert "the next variant is used instead" in errors
    ok, bad = (list(tmp_path.glob(f"*.{ending}")) for ending in ("ok", "bad"))
    assert bad and len(ok) + len(bad) == talk.ready["programs_built"]


def test_a_right_driver_raises_no_alarm(
    start: Start, fake_driver: Path, adreno: Path, tmp_path: Path
) -> None:
    """Each program that is bound is tested, and none again."""
    first = run(start, fake_driver, adreno, tmp_path, FAKE_MARK="__kernel")
    assert first.end() == (0, "")
    proofs = [file.read_text() for file in tmp_path.glob("*.ok")]
    assert len(proofs) == first.ready["programs_built"] > 20
    again = run(start, fake_driver, adreno, tmp_path, FAKE_MARK="__kernel")
    assert again.end() == (0, "") and again.ready["programs_built"] == 0
    assert len(list(tmp_path.glob("*.ok"))) == len(proofs)
