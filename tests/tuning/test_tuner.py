"""`pocketcl tune`: what it measures, keeps and tells; and compiles that use what it found."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_tuning import READY, Fake, likes_16, opener

from toolkit import cli
from toolkit.errors import PocketError
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan
from toolkit.tuning import tuner as tune_module
from toolkit.tuning.back_end import Here
from toolkit.tuning.candidate_plan import (
    defaults,
    timed_phases,
    tunable,
    with_knobs,
    write_candidate,
)
from toolkit.tuning.tuner import lines, tune

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
KEYS = {"device", "driver", "profile", "date", "repeats", "tuned", "kernels", "steps", "files",
        "complete", "seconds"}  # fmt: skip
ROW = {"kernel", "shape", "step", "default_s", "knobs", "ratio", "low", "high"}
pytestmark = pytest.mark.usefixtures("own_cache")


def call(*args: Any) -> Result:
    return CliRunner().invoke(cli.cli, [str(arg) for arg in args])


def figures(*args: Any) -> dict[str, Any]:
    result = call(*args, "--json")
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_finds_what_is_faster_and_keeps_it(plan: Path, own_cache: Path) -> None:
    found = tune(plan, repeats=2, back_end=opener(likes_16))
    assert set(found) == KEYS and all(set(row) == ROW for row in found["kernels"])
    gemvs = [row for row in found["kernels"] if row["kernel"] == "gemv_cpu"]
    assert gemvs and found["tuned"] == len(gemvs)
    for row in gemvs:
        assert row["knobs"] == {"WORKERS": 4, "PREFETCH": 16}
        assert row["ratio"] == pytest.approx(10 / 7)
    assert found["files"] == [str(own_cache)]
    body = json.loads(own_cache.read_text())
    assert body["device"] == "a CPU" and body["driver"] == "3.1" and body["date"] == found["date"]
    shapes = body["kernels"]["gemv_cpu"]
    assert shapes == {row["shape"]: {"WORKERS": 4, "PREFETCH": 16} for row in gemvs}
    assert set(body["kernels"]["gemm_cpu"]["Mseq N256 K128 f32"]) == set()  # measured: the default
    text = "\n".join(lines(found))
    assert "WORKERS=4 PREFETCH=16" in text and "× 1.43" in text and str(own_cache) in text


@pytest.mark.slow
def test_the_same_times_give_the_same_table(plan: Path, own_cache: Path) -> None:
    tune(plan, repeats=2, back_end=opener(likes_16))
    first = own_cache.read_bytes()
    tune(plan, repeats=2, back_end=opener(likes_16))
    assert own_cache.read_bytes() == first


@pytest.mark.slow
def test_nothing_is_better(plan: Path, own_cache: Path) -> None:
    found = tune(plan, repeats=1, back_end=opener(lambda *_: 1000))
    assert found["tuned"] == 0 and all(row["ratio"] is None for row in found["kernels"])
    assert all(
        not knobs for knobs in json.loads(own_cache.read_text())["kernels"]["gemv_cpu"].values()
    )
    json.dumps(found)


@pytest.mark.slow
def test_one_kernel_only(plan: Path, own_cache: Path) -> None:
    tune(plan, kernels=["gemv_cpu"], repeats=1, back_end=opener(likes_16))
    assert list(json.loads(own_cache.read_text())["kernels"]) == ["gemv_cpu"]
    with pytest.raises(PocketError, match="no kernel 'gemv'"):
        tune(plan, kernels=["gemv"], back_end=opener(likes_16))


def test_ctrl_c_keeps_the_stages_that_are_done(
    plan: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune_module.Tuner, "judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(plan, kernels=["gemv_cpu"], repeats=1, back_end=opener(likes_16))
    knobs = json.loads(own_cache.read_text())["kernels"]["gemv_cpu"].values()
    assert all(each == {"WORKERS": 4, "PREFETCH": 16} for each in knobs)


@pytest.mark.slow
def test_a_trial_that_does_not_load_is_left_out(plan: Path, own_cache: Path) -> None:
    def picky(path: Path, on: str, **options: Any) -> Fake:
        programs = load_plan(path).programs
        if any(("PREFETCH", "64") in program.defines for program in programs):
            raise PocketError("out of registers")
        return Fake(path, likes_16)

    assert tune(plan, kernels=["gemv_cpu"], repeats=1, back_end=Here(picky))["tuned"] > 0


def test_another_device_is_refused(
    plan: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "ready", {**READY, "platform": "QUALCOMM", "device": "Adreno"})
    with pytest.raises(PocketError, match="compiled for pocl") as raised:
        tune(plan, back_end=opener(likes_16))
    assert raised.value.hint and not own_cache.exists()


def test_save_outside_a_checkout_is_refused_at_once(plan: Path) -> None:
    result = call("tune", plan, "--save")
    assert result.exit_code == 1 and "--save has no file" in result.stderr
    assert "try:" in result.stderr


def test_save_writes_the_shipped_table_too(plan: Path, tmp_path: Path) -> None:
    (tmp_path / "package/opencl_kernels").mkdir(parents=True)
    (tmp_path / "package/pyproject.toml").write_text("")
    found = tune(plan, save=True, kernels=["gemv_cpu"], repeats=1, back_end=opener(likes_16))
    user, shipped = (Path(file) for file in found["files"])
    assert shipped == tmp_path / "package/opencl_kernels/tuned/pocl.json"
    assert user.read_bytes() == shipped.read_bytes()


def test_an_older_plan_says_what_to_do(plan: Path, tmp_path: Path) -> None:
    """Its programs do not say what they were made from."""
    older = tmp_path / "older.plan"
    older.mkdir()
    for file in plan.iterdir():
        (older / file.name).symlink_to(file)
    body = json.loads((older / "plan.json").read_text())
    for program in body["programs"]:
        program.pop("case", None)
    (older / "plan.json").unlink()
    (older / "plan.json").write_text(json.dumps(body))
    result = call("tune", older)
    assert result.exit_code == 1
    assert "cannot be tuned" in result.stderr and "compile the model again" in result.stderr


def test_an_edited_case_is_no_case(plan: Path) -> None:
    body = load_plan(plan)
    for case in ({"N": 3}, {"M": ["bad", "+"]}, {"M": 1, "N": "x"}, {"w": 5}):
        spoiled = tuple(vars(p) | {"case": case} for p in body.programs)
        programs = tuple(type(body.programs[0])(**fields) for fields in spoiled)
        with pytest.raises(PocketError, match="cannot be tuned"):
            tunable(Plan(**{**vars(body), "programs": programs}))


def test_a_trial_at_the_defaults_is_the_plan_itself(plan: Path, tmp_path: Path) -> None:
    body = load_plan(plan)
    kernel_cases = tunable(body)
    same = with_knobs(body, defaults(kernel_cases, body))
    write_candidate(tmp_path / "candidate.plan", plan, same)
    notes: list[str] = []
    read = load_plan(tmp_path / "candidate.plan", notes.append)
    assert notes == []
    whole_step = {p for p in body.programs if p.kernel == "steps"}  # its knobs are the dispatches'
    assert len(whole_step) == 1 and set(read.programs) == set(body.programs) - whole_step
    for phase in timed_phases(body):
        assert programs_of(read, phase.name) == programs_of(body, phase.name)


def programs_of(plan: Plan, name: str) -> list[Any]:
    phase = plan.phase(name)
    variants = [v for d in phase.dispatches() for v in d.variants] if phase else []
    return [(plan.programs[v.program], v.global_size, v.local_size) for v in variants]


@pytest.mark.slow
def test_a_compile_uses_what_was_found(plan: Path, own_cache: Path, tmp_path: Path) -> None:
    tune(plan, kernels=["gemv_cpu"], repeats=1, back_end=opener(likes_16))
    report = figures("compile", DEMO, "-o", tmp_path / "a.plan", "--device", "pocl")
    assert report["tuned"] > 0
    body = load_plan(tmp_path / "a.plan")
    gemvs = [program for program in body.programs if program.kernel == "gemv_cpu"]
    assert report["tuned"] == len(gemvs)
    assert all(program.knobs == {"WORKERS": 4, "PREFETCH": 16} for program in gemvs)
    assert all(("PREFETCH", "16") in program.defines for program in gemvs)
    assert call("verify", tmp_path / "a.plan").exit_code == 0
    figures("compile", DEMO, "-o", tmp_path / "b.plan", "--device", "pocl")
    texts = [(tmp_path / name / "plan.json").read_bytes() for name in ("a.plan", "b.plan")]
    assert hashlib.sha256(texts[0]).digest() == hashlib.sha256(texts[1]).digest()
    assert figures("compile", DEMO, "-o", tmp_path / "c.plan", "--no-tuned")["tuned"] == 0
    assert (
        json.loads((tmp_path / "c.plan/plan.json").read_text())["programs"]
        == json.loads((plan / "plan.json").read_text())["programs"]
    )


@pytest.mark.slow
def test_a_compile_minds_no_damaged_table(own_cache: Path, tmp_path: Path) -> None:
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text("{")
    result = call("compile", DEMO, "-o", tmp_path / "a.plan", "--device", "pocl")
    assert result.exit_code == 0
    assert result.stderr.count("note:") == 1 and str(own_cache) in result.stderr


@pytest.mark.slow
def test_a_real_run(plan: Path, own_cache: Path) -> None:
    found = figures("tune", plan, "--kernel", "gemv_cpu", "--repeats", 1)
    assert set(found) == KEYS
    assert {row["kernel"] for row in found["kernels"]} == {"gemv_cpu"}
    assert {row["step"] for row in found["steps"]} >= {"decode", "prefill 8"}
    assert all(row["default_s"] > 0 for row in found["kernels"])
    assert json.loads(own_cache.read_text())["profile"] == "pocl"
