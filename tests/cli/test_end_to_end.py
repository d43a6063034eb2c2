"""The embedded model through every command, on both executors."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import toolkit
from toolkit import cli
from toolkit.devices import opencl

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
PROMPT = "Once upon a time"
EXECUTORS = ("host", "runner")


def call(*args: Any) -> Result:
    return CliRunner().invoke(cli.cli, [str(arg) for arg in args])


def figures(*args: Any) -> dict[str, Any]:
    """What a command reports with --json."""
    result = call(*args, "--json")
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def error_of(*args: Any) -> str:
    """The three lines of a command's error."""
    result = call(*args)
    assert result.exit_code == 1 and result.stdout == "", result.output
    labels = [line[:11] for line in result.stderr.splitlines() if line[:11].strip()]
    assert labels[0].startswith("Error: "), result.stderr
    assert labels[1:] == ["  because: ", "  try:     "], result.stderr
    return result.stderr


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    plan = tmp_path_factory.mktemp("plans") / "demo.plan"
    return plan, figures("compile", DEMO, "-o", plan, "--device", "pocl", "--prefill-chunk", 256)


@pytest.fixture
def plan(compiled: tuple[Path, dict[str, Any]]) -> Path:
    return compiled[0]


@pytest.fixture
def copy(plan: Path, tmp_path: Path) -> Path:
    """A plan to damage."""
    return Path(shutil.copytree(plan, tmp_path / "copy.plan"))


def test_compile_reports_what_others_build_on(compiled: tuple[Path, dict[str, Any]]) -> None:
    report = compiled[1]
    keys = {"nodes_before", "nodes_after", "unresolved_dims", "passes", "dispatches"}
    keys |= {"weight_bytes", "state_bytes", "arena_bytes", "arena_lower_bound_bytes", "seconds"}
    assert keys | {"peak_rss_bytes"} <= set(report)
    assert report["unresolved_dims"] == 0
    assert {"name", "rewrites", "seconds"} <= set(report["passes"][0])
    assert report["dispatches"]["decode"] <= 5 * 9 + 4
    for phase, size in report["arena_bytes"].items():
        assert size <= 1.05 * report["arena_lower_bound_bytes"][phase]


@pytest.mark.parametrize("on", EXECUTORS)
def test_verify(plan: Path, on: str) -> None:
    report = figures("verify", plan, "--on", on)
    assert report["ok"] and report["greedy_match"]
    assert max(case["nmse"] for case in report["original"]) < 1e-8
    names = {case["name"] for case in report["cases"]}
    lengths = (1, 2, 7, 64, 65, 257)
    assert names == {*(f"prefill-{n}" for n in lengths), "score-65", "decode-32"}


def test_both_executors_tell_the_same_story(plan: Path) -> None:
    reports = [figures("run", plan, "--prompt", PROMPT, "--on", on) for on in EXECUTORS]
    assert reports[0]["ids"] == reports[1]["ids"]
    assert reports[0]["text"] == reports[1]["text"]
    assert {"prefill_s", "decode_s", "stop"} <= set(reports[0])


def test_text_is_streamed_and_is_the_text_of_the_report(plan: Path) -> None:
    args = ("run", plan, "--prompt", PROMPT, "--max-new-tokens", 12, "--on", "host")
    assert call(*args).stdout == figures(*args)["text"] + "\n"


def test_a_prompt_from_stdin(plan: Path) -> None:
    args = ["run", str(plan), "--max-new-tokens", "5", "--on", "host", "--json"]
    piped = CliRunner().invoke(cli.cli, [*args, "--prompt", "-"], input=PROMPT)
    given = CliRunner().invoke(cli.cli, [*args, "--prompt", PROMPT])
    assert json.loads(piped.stdout)["ids"] == json.loads(given.stdout)["ids"]


@pytest.mark.parametrize("on", EXECUTORS)
def test_every_reason_to_stop(plan: Path, on: str) -> None:
    more = ("--on", on, "--max-new-tokens", 500)
    assert figures("run", plan, "--prompt", PROMPT, *more)["stop"] == "eos"
    full = figures("run", plan, "--ids", ",".join(["0"] + ["400"] * 383), *more)
    assert (full["stop"], len(full["ids"])) == ("context", 1)
    assert figures("run", plan, "--prompt", PROMPT, *more[:3], 3)["stop"] == "length"


@pytest.mark.parametrize("on", EXECUTORS)
def test_bench(plan: Path, on: str) -> None:
    report = figures("bench", plan, "--repeats", 2, "--new-tokens", 8, "--on", on)
    assert report["kv_copy_bytes_per_token"] == 0
    assert report["executor"] == on and report["peak_rss_bytes"] > 0
    assert report["host_us_per_token"] > 0 and report["decode_tokens_per_s"] > 0
    assert [row["tokens"] for row in report["prefill"]] == [1, 64]
    assert report["host_overhead_us"] > 0
    cold, warm = report["load"]["cold_s"], report["load"]["warm_s"]
    assert warm > 0 and (cold is None if on == "host" else cold > 0)


@pytest.mark.parametrize("on", EXECUTORS)
def test_bench_beside_a_rival_and_with_a_timeline(plan: Path, on: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    more = ("--compare", "onnxruntime", "--trace", file, "--prompt-tokens", "5,33", "--on", on)
    report = figures("bench", plan, "--repeats", 2, "--new-tokens", 4, *more)
    (rival,) = report["compare"]
    assert rival["rival"] == "onnxruntime" and rival["threads"] > 0
    assert rival["same_ids"] and rival["logits_rows"] == {"ours": 1, "rival": 33}
    assert [len(row["ratios"]) for row in rival["prefill"]] == [2, 2]
    kernels = [e for e in json.loads(file.read_text())["traceEvents"] if e["tid"] == 2]
    inspected = figures("inspect", plan)["dispatches"]
    assert len([e for e in kernels if e["ph"] == "X"]) >= inspected["prefill"]


def test_bench_beside_a_rival_in_words(plan: Path) -> None:
    few = ("--repeats", 1, "--new-tokens", 2, "--on", "host")
    result = call("bench", plan, *few, "--compare", "onnxruntime")
    assert result.exit_code == 0 and "onnxruntime" in result.stdout.lower(), result.output


def test_inspect_a_model_and_a_plan(plan: Path) -> None:
    model = figures("inspect", DEMO)
    assert {"roles", "symbols", "passes", "unsupported"} <= set(model)
    assert figures("inspect", DEMO, "--unsupported")["unsupported"] == []
    assert figures("inspect", DEMO, "--why", "fuse_rope")["pass"] == "fuse_rope"
    assert any("Attention" in line for line in figures("inspect", DEMO, "--graph")["graph"])
    assert figures("inspect", plan)["dispatches"]["decode"] > 0
    assert figures("inspect", plan, "--memory")["weight_bytes"] > 0
    assert (
        "decode" in call("inspect", plan).stdout
        and "arena" in call("inspect", plan, "--memory").stdout
    )


def test_inspect_fits_a_terminal(plan: Path) -> None:
    steps, graph = call("inspect", plan).stdout, call("inspect", DEMO, "--graph").stdout
    assert max(map(len, (steps + graph).splitlines())) <= 100
    assert "#2, rotary.cos, rotary.sin, → layers.0.k, → layers.0.v" in steps  # what step 2 wrote
    assert "= MatMul(" in graph


@pytest.mark.parametrize("args", [("--why", "fuse_nothing"), ("--memory",)])
def test_inspect_refuses_what_a_model_has_not(args: tuple[str, ...]) -> None:
    error_of("inspect", DEMO, *args)


def test_inspect_refuses_what_a_plan_has_not(plan: Path) -> None:
    assert "--graph" in error_of("inspect", plan, "--graph")


def test_dump_shows_tensors(plan: Path) -> None:
    args = ("run", plan, "--ids", "0,377", "--max-new-tokens", 1)
    assert "layers.0.k" in call(*args, "--on", "host", "--dump", "layers.0.k").stderr
    assert "--on host" in error_of(*args, "--dump", "layers.0.k")
    assert "no tensor" in error_of(*args, "--on", "host", "--dump", "nothing")


def test_python_api(plan: Path, tmp_path: Path) -> None:
    report = toolkit.compile(DEMO, tmp_path / "api.plan", device="pocl")
    with toolkit.Session(report, on="host") as session:
        ids = list(session.generate([0, 377, 379], max_new_tokens=6))
        session.reset()
        logits = session.run({"tokens": [0, 377, 379, *ids[:-1]]})["logits"]
    assert logits[2:].argmax(-1).tolist() == ids
    assert logits.dtype == np.float32


def test_demo() -> None:
    result = call("demo", "--on", "host")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(PROMPT)
    assert all(word in result.stdout for word in ("compile", "verify", "tokens/s", "memory"))


def test_demo_takes_the_host_where_no_compiler_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    linker = shutil.which("ld")
    monkeypatch.setattr("shutil.which", lambda name: linker if name == "ld" else None)
    result = call("demo")
    assert result.exit_code == 0, result.output
    assert "--on host" in result.stdout and "(host)" in result.stdout
    assert "no C++ compiler" in result.stdout


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("on", EXECUTORS)
def test_an_id_out_of_range(plan: Path, on: str) -> None:
    assert "1024" in error_of("run", plan, "--ids", "1,1024", "--on", on)


@pytest.mark.parametrize("on", EXECUTORS)
def test_a_prompt_that_does_not_fit(plan: Path, on: str) -> None:
    ids = ",".join(["5"] * 385)
    assert "context" in error_of("run", plan, "--ids", ids, "--on", on)


def test_an_unknown_device_leaves_nothing(tmp_path: Path) -> None:
    assert "nokia" in error_of("compile", DEMO, "-o", tmp_path / "x.plan", "--device", "nokia")
    assert list(tmp_path.iterdir()) == []


def test_no_opencl_device(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl, "opencl_devices", list)
    assert "--device" in error_of("compile", DEMO, "-o", tmp_path / "x.plan")
    monkeypatch.setenv("POCKETCL_PLATFORM", "no such platform")
    for on in EXECUTORS:
        assert "no such platform" in error_of("run", plan, "--ids", "1", "--on", on)


def test_a_context_larger_than_the_model_has(tmp_path: Path) -> None:
    assert "384" in error_of("compile", DEMO, "-o", tmp_path / "x.plan", "--max-context", 9999)


def test_damaged_weights(copy: Path) -> None:
    weights = next(copy.glob("weights.*.bin"))
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    assert weights.name in error_of("verify", copy, "--on", "host")
    weights.write_bytes(content[:-1])
    for on in EXECUTORS:
        assert weights.name in error_of("run", copy, "--ids", "1", "--on", on)


@pytest.mark.parametrize("on", EXECUTORS)
def test_a_missing_kernel(copy: Path, on: str) -> None:
    kernel = next((copy / "kernels").iterdir())
    kernel.unlink()
    assert kernel.name in error_of("run", copy, "--ids", "1", "--on", on)


@pytest.mark.parametrize("on", EXECUTORS)
def test_an_edited_kernel_runs_after_a_note(copy: Path, on: str) -> None:
    kernel = copy / "kernels/embed.cl"
    kernel.write_text(kernel.read_text() + "\n// edited\n")
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "run", copy, "--ids", "0,377", "--on", on],
        capture_output=True,
        text=True,
        cwd=DEMO.parents[1],
    )
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "embed.cl" in line] != []
    assert len(done.stderr.splitlines()) == 1


def test_a_changed_source_needs_model(copy: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(DEMO, tmp_path / "model"))
    other = tmp_path / "other.plan"
    figures("compile", model, "-o", other, "--device", "pocl")
    with (model / "model.onnx").open("ab") as file:
        file.write(b"\x72\x00")  # an empty field: the same model in other bytes
    assert "--model" in error_of("verify", other, "--on", "host")
    assert figures("verify", other, "--model", model, "--on", "host")["ok"]


def test_ctrl_c_keeps_what_was_finished(plan: Path) -> None:
    args = ["run", plan, "--prompt", PROMPT, "--max-new-tokens", "300", "--on", "host", "--json"]
    code = (
        "import sys, _thread, toolkit.executors.host as g; old = g.HostExecutor.decode\n"
        "def decode(*args):\n"
        "    for i, token in enumerate(old(*args)):\n"
        "        if i == 5: _thread.interrupt_main()\n"
        "        yield token\n"
        "g.HostExecutor.decode = decode\n"
        "from toolkit.cli import cli; cli(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=DEMO.parents[1],
    )
    report = json.loads(done.stdout)
    assert (done.returncode, report["stop"]) == (1, "cancel")
    assert 5 <= len(report["ids"]) < 20 and report["text"].startswith(", there")
    assert done.stderr == ""


def test_a_compile_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal, toolkit.compiler.pipeline as c\n"
        "def write_plan(*args): os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.modules['toolkit.compiler.pipeline'].write_plan = write_plan\n"
        "from toolkit.cli import cli; cli(sys.argv[1:])"
    )
    args = ["compile", str(DEMO), "-o", str(tmp_path / "x.plan"), "--device", "pocl"]
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=DEMO.parents[1]
    )
    assert done.returncode in (1, -signal.SIGINT)
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
