"""A driver that builds any one kernel of a plan for phones wrong: it is named before a text is.

The whole table runs on PoCL, and on Intel's runtime (tests/kernels/intel_runtime.py).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from talk import Start, Talk, failure

import toolkit
from opencl_kernels import family_of
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Dispatch, Plan, Step
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
QUICK = ("gemv", "sample_pick")


@pytest.fixture(scope="module")
def adreno(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = tmp_path_factory.mktemp("adreno") / "demo.plan"
    toolkit.compile(Path(toolkit.__file__).parent / "demo_model", plan, device="adreno")
    return plan


def run(start: Start, fake_driver: Path, plan: Path, cache: Path, **env: str) -> Talk:
    gpu = {"FAKE_REAL": str(find_opencl()), "FAKE_GPU": "1", "FAKE_DEATH": "none"}
    words = ("--cl-lib", str(fake_driver), "--cache", str(cache), "--child-builds", "off")
    return start(plan, *words, **gpu, FAKE_PRIVATE="0", **env)


def alone(folder: Path, kernel: str) -> tuple[Path, Plan]:
    """The plan without other variants of what the kernel does, beside it, as if so compiled."""
    plan = load_plan(folder)

    def only(step: Step) -> Step:
        if not isinstance(step, Dispatch):
            return step
        own = [v for v in step.variants if plan.programs[v.program].kernel == kernel]
        return replace(step, variants=tuple(own) or step.variants)

    phases = (replace(each, steps=tuple(map(only, each.steps))) for each in plan.phases)
    plan = replace(plan, phases=tuple(phases))
    path = folder / f"{kernel}.json"
    path.write_text(to_json(plan))
    return path, plan


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
