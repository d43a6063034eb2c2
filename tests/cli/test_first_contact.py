"""What people type first: it does what they want, or a sentence leads there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

import toolkit
from toolkit import cli
from toolkit.errors import PocketError
from toolkit.foreign.find_model import find_model, home_of, plan_name

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
EXPORT = "optimum-cli export onnx --model"
TEXT = "--task text-generation-with-past"
RUN = 'pocketcl run llama.plan "Once upon a time"'
PLAN_COMMANDS = ("run", "chat", "verify", "bench", "tune", "eval")


def call(*args: Any, **options: Any) -> Result:
    return CliRunner().invoke(cli.cli, [str(arg) for arg in args], **options)


def facts_of(result: Result, exit_code: int = 1) -> str:
    """The error of a command: thing, cause and next step, no traceback."""
    labels = [line[:11] for line in result.stderr.splitlines() if line[:11].strip()]
    assert result.exit_code == exit_code and result.stdout == "", result.output
    assert labels[0].startswith("Error: ") and "unexpected" not in result.stderr, result.stderr
    assert labels[1:] == ["  because: ", "  try:     "], result.stderr
    return result.stderr


def usage_of(result: Result) -> str:
    """What is wrong with a command line."""
    assert result.exit_code == 2 and "Traceback" not in result.output
    return result.stderr.split("Error: ")[1]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = tmp_path_factory.mktemp("first") / "llama.plan"
    toolkit.compile(DEMO, plan, device="pocl")
    return plan


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, but for a model."""
    shutil.copytree(DEMO, tmp_path / "llama")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(here: Path, compiled: Path) -> Path:
    shutil.copytree(compiled, here / "llama.plan")
    return Path("llama.plan")


# --- names of things that are not here -----------------------------------------------------------

NOT_HERE = {
    "meta-llama/Llama-3.2-1B": f"{EXPORT} meta-llama/Llama-3.2-1B {TEXT} Llama-3.2-1B-onnx",
    "Qwen/Qwen2.5-0.5B-Instruct": "pocketcl compile Qwen2.5-0.5B-Instruct-onnx",
    "https://huggingface.co/Qwen/Qwen2.5-0.5B": f"{EXPORT} Qwen/Qwen2.5-0.5B {TEXT}",
    "https://huggingface.co/Qwen/Qwen2.5-0.5B/tree/main": f"{EXPORT} Qwen/Qwen2.5-0.5B {TEXT}",
    "hf://some/tiny": f"{EXPORT} some/tiny {TEXT}",
    "https://www.modelscope.cn/models/Qwen/Qwen2.5-0.5B": f"{EXPORT} Qwen/Qwen2.5-0.5B {TEXT}",
    "onnx-community/tiny": "hf download onnx-community/tiny --local-dir tiny",
    "https://hf.co/some/tiny/resolve/main/onnx/model.onnx": "hf download some/tiny",
    "some/tiny-GGUF": f"export the original model, which its page names:\n"
    f"           {EXPORT} ORIGINAL {TEXT}",
    "https://example.com/model.onnx": "download it, then compile the file",
}
SLIPS = {
    "lama": "llama",
    "LLAMA": "llama",
    "llama/modle.onnx": "llama/model.onnx",
    "lama/model.onnx": "llama",
    "lama/": "llama",
    "nothing/like/it": "check the path",
    "nothing.onnx": "check the path",
    "gpt2": f"{EXPORT} gpt2 {TEXT} gpt2-onnx",
}


@pytest.mark.parametrize("name", NOT_HERE)
@pytest.mark.parametrize("command", ["compile", "inspect", "run", "chat"])
def test_a_name_on_a_hub(here: Path, command: str, name: str) -> None:
    error = facts_of(call(command, name))
    assert error.startswith(f"Error: {name} is ") and "downloads nothing" in error
    assert NOT_HERE[name] in error


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_of_the_keys(here: Path, name: str) -> None:
    for words in (("compile", name), ("inspect", name, "--memory")):
        error = facts_of(call(*words), 2)
        assert f"there is no model at {Path(name)}" in error and SLIPS[name] in error


def test_the_model_to_verify_with_may_be_none_as_well(plan: Path) -> None:
    args = ("verify", plan, "--on", "host", "--model")
    assert "downloads nothing" in facts_of(call(*args, "meta-llama/Llama-3.2-1B"))
    assert "llama" in facts_of(call(*args, "lama"), 2)


def test_a_slip_in_the_name_of_another_file(plan: Path, here: Path) -> None:
    (here / "letter.txt").write_text("Dear")
    for option in ("--text", "--template-file"):
        command = "eval" if option == "--text" else "run"
        assert "Did you mean letter.txt?" in usage_of(call(command, plan, option, "leter.txt"))
    error = facts_of(call("run", plan, "--prompt-file", "leter.txt"))
    assert "letter.txt" in error.splitlines()[2]


def test_a_file_that_is_none(here: Path) -> None:
    assert "neither a file nor a folder" in facts_of(call("compile", os.devnull))
    assert "empty" in usage_of(call("compile", ""))


# --- a model where a plan is expected, and the other way round -----------------------------------


@pytest.mark.parametrize("command", PLAN_COMMANDS)
@pytest.mark.parametrize("name", ["llama", "llama/", "llama/model.onnx"])
def test_a_model_is_to_be_compiled_first(here: Path, command: str, name: str) -> None:
    more = ["--text", "llama/config.json"] if command == "eval" else []
    error = facts_of(call(command, name, *more))
    assert "not compiled yet" in error
    assert f"pocketcl compile {Path(name)}\n           {RUN}" in error


def test_a_plan_is_compiled_already(plan: Path) -> None:
    for name in (plan, plan / "plan.json", plan / "weights.0.bin"):
        error = facts_of(call("compile", name))
        assert "compiled plan" in error and RUN in error


def test_parts_and_parents_of_a_plan(plan: Path) -> None:
    assert RUN in facts_of(call("run", plan / "plan.json", "Once"))
    assert RUN in facts_of(call("run", ".", "Once"))


@pytest.mark.parametrize("command", ["run", "chat", "verify"])
def test_without_a_plan(here: Path, compiled: Path, command: str) -> None:
    assert "`pocketcl compile MODEL` makes one" in usage_of(call(command))
    shutil.copytree(compiled, here / "llama.plan")
    assert "Plans here: llama.plan." in usage_of(call(command))


def test_without_a_model(here: Path) -> None:
    assert "the folder of an export" in usage_of(call("compile"))


@pytest.mark.parametrize("name", ["nope", "llama", "meta-llama/Llama-3.2-1B", 123, None])
def test_a_session_of_something_else(here: Path, name: Any) -> None:
    with pytest.raises(PocketError) as error:
        toolkit.Session(name)
    assert error.value.because and error.value.hint


# --- where the plan goes -------------------------------------------------------------------------


def test_compile_without_an_out(here: Path) -> None:
    result = call("compile", "llama", "--device", "pocl")
    assert result.exit_code == 0 and "written to llama.plan" in result.stdout
    assert (here / "llama.plan/plan.json").is_file()
    assert toolkit.compile("llama", device="pocl").path == Path("llama.plan")
    assert json.loads(call("compile", "llama", "--device", "pocl", "--json").stdout)["plan"]


@pytest.mark.parametrize(
    ("model", "plan"),
    [
        ("llama/model.onnx", "llama.plan"),
        ("llama-onnx/model.onnx", "llama.plan"),
        ("llama/tiny.onnx", "tiny.plan"),
        ("llama/onnx/model.onnx", "llama.plan"),
        ("llama/onnx/model_q4.onnx", "llama_q4.plan"),
        ("llama/decoder_model_merged.onnx", "llama.plan"),
        ("llama/modelling.onnx", "modelling.plan"),
        ("model.onnx", "here.plan"),
        ("/model.onnx", "model.plan"),
        ("models--some--tiny/snapshots/0a1b/onnx/model.onnx", "tiny.plan"),
        ("My Models/Ünï/model.onnx", "Ünï.plan"),
    ],
)
def test_the_name_of_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, plan: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert plan_name(Path(model)) == plan


def test_what_is_no_plan_is_left_alone(here: Path) -> None:
    (here / "llama.plan").write_text("mine")
    for out in ([], ["-o", "llama"], ["-o", "llama.plan"]):
        error = facts_of(call("compile", "llama", "--device", "pocl", *out))
        assert "is not a plan" in error
    assert (here / "llama.plan").read_text() == "mine"


def test_a_place_that_cannot_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before the work, not after it."""

    def no_work(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("onnx_passes.rewrite", no_work)
    (here / "file").touch()
    assert "is no folder" in facts_of(call("compile", "llama", "-o", "file/x.plan"))
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert "is not writable" in facts_of(call("compile", "llama"))


def test_a_second_word_of_compile(here: Path) -> None:
    assert "compile llama -o x.plan" in usage_of(call("compile", "llama", "x.plan"))


def test_a_home_is_expanded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert call("compile", "~/llama", "--out=~/x.plan", "--device", "pocl").exit_code == 0
    assert (here / "x.plan/plan.json").is_file()
    assert toolkit.compile("~/llama", "~/y.plan", device="pocl").path == here / "y.plan"


# --- how models lie in folders -------------------------------------------------------------------


def test_a_repository_of_transformers_js(here: Path) -> None:
    """The model is in onnx/, the tokenizer and the settings above it."""
    (here / "llama/onnx").mkdir()
    (here / "llama/model.onnx").rename(here / "llama/onnx/model.onnx")
    for model in ("llama", "llama/onnx", "llama/onnx/model.onnx"):
        report = toolkit.compile(model, device="pocl")
        assert report.path == Path("llama.plan")
        assert report.figures["max_context"] == 384  # of config.json
        assert (report.path / "tokenizer.json").is_file()


def test_a_model_behind_links(here: Path) -> None:
    """A link leads to where a tokenizer is; in a hub's cache the links themselves lie together."""
    (here / "link.onnx").symlink_to(here / "llama/model.onnx")
    assert find_model(Path("link.onnx")) == here / "llama/model.onnx"
    snapshot = here / "models--some--tiny/snapshots/0a1b"
    snapshot.mkdir(parents=True)
    for name in ("model.onnx", "tokenizer.json"):
        (snapshot / name).symlink_to((here / "llama" / name).rename(here / f"{name}-0123"))
    found = find_model(snapshot)
    assert found == snapshot / "model.onnx" and home_of(found) == snapshot


def test_a_model_without_a_cache(here: Path) -> None:
    model = onnx.load(DEMO / "model.onnx")
    graph = model.graph
    for past in [value for value in graph.input if value.name.startswith("past")]:
        dims = [d.dim_value for d in past.type.tensor_type.shape.dim]
        empty = numpy_helper.from_array(np.zeros((1, dims[1], 0, dims[3]), np.float32), past.name)
        graph.initializer.append(empty)
        graph.input.remove(past)
    for present in [value for value in graph.output if value.name.startswith("present")]:
        graph.output.remove(present)
    onnx.save(model, here / "model.onnx")
    error = facts_of(call("compile", "model.onnx", "--device", "pocl"))
    assert "keeps no KV cache" in error and TEXT in error


# --- prompts -------------------------------------------------------------------------------------


def ids_of(result: Result) -> list[int]:
    assert result.exit_code == 0, result.output
    ids: list[int] = json.loads(result.stdout)["ids"]
    return ids


@pytest.fixture
def run(plan: Path) -> Callable[..., Result]:
    return lambda *args, **options: call("run", plan, "--on", "host", "-n", 3, *args, **options)


def test_a_prompt_in_any_form(run: Callable[..., Result], here: Path) -> None:
    (here / "dos.txt").write_bytes(b"\xef\xbb\xbfOnce\r\nupon\r\n")
    (here / "wide.txt").write_text("Once\nupon\n", encoding="utf-16")
    expected = ids_of(run("--prompt", "Once\nupon", "--json"))
    assert len(expected) == 3
    assert ids_of(run("Once\nupon", "--json")) == expected
    assert ids_of(run("-p", "Once\nupon", "--json")) == expected
    assert ids_of(run("--json", input=b"Once\r\nupon\r\n")) == expected
    assert ids_of(run("-", "--json", input=b"Once\nupon")) == expected
    assert ids_of(run("--prompt-file", "dos.txt", "--json")) == expected
    assert ids_of(run("--prompt-file", "wide.txt", "--json")) == expected


def test_short_options(plan: Path) -> None:
    args = ("run", plan, "Once", "--on", "host", "--seed", 1, "--json")
    short, long = call(*args, "-n", 2, "-t", 0.5), call(*args, "--max-new-tokens", 2)
    assert json.loads(short.stdout)["sampling"]["temperature"] == 0.5
    assert len(ids_of(short)) == len(ids_of(long)) == 2


def test_no_prompt_or_several(run: Callable[..., Result]) -> None:
    assert RUN in usage_of(run(input=""))
    assert 'quotes: pocketcl run llama.plan "Once upon a"' in usage_of(run("Once", "upon", "a"))
    for more in (["--prompt", "a"], ["--ids", "1"], ["--prompt-file", "x"]):
        assert "Give one prompt" in usage_of(run("Once", *more))


def test_a_terminal_is_not_read(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    from toolkit.generation import run as module

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(module.sys, "stdin", Terminal())
    assert module.piped_prompt() is None
    monkeypatch.setattr(module.sys, "stdin", None)  # closed
    assert module.piped_prompt() is None


# --- the command itself --------------------------------------------------------------------------


def test_as_a_module(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"pocketcl, version {toolkit.__version__}\n")


def test_help_lists_every_command_in_order_of_use() -> None:
    listed = call("--help").stdout
    shown = [name for name, command in cli.cli.commands.items() if not command.hidden]
    places = [listed.index(f"\n  {name} ") for name in shown]
    assert shown[:3] == ["demo", "compile", "run"] and places == sorted(places)
    assert listed == call("help").stdout and "Start here" in listed
    assert call("help", "run").stdout == call("run", "--help").stdout
    assert "Start here" in call().output


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("complie", "compile"), ("runn", "run"), ("banch", "bench"), ("inspct", "inspect")],
)
def test_a_mistyped_command(typed: str, meant: str) -> None:
    assert f"'{meant}'" in usage_of(call(typed, "x"))


def test_a_path_without_a_command(plan: Path) -> None:
    assert "pocketcl run llama.plan" in usage_of(call(plan, "Once"))
    assert "pocketcl compile llama" in usage_of(call("llama"))


def test_a_mistyped_option() -> None:
    assert "--weights" in usage_of(call("compile", "x", "--wieghts", "f16"))


NEAREST = [
    (("compile", "llama", "--device", "snapdragn-8-gen-3"), "snapdragon-8-gen-3"),
    (("compile", "llama", "--device", "SM865O"), "SM8650"),
    (("compile", "llama", "--device", "8 gen 3"), "snapdragon-8-gen-3"),
    (("compile", "llama", "--device", "galaxy s24"), "snapdragon-8-gen-3 (Galaxy S24)"),
    (("compile", "llama", "--device", "adreno 730"), "snapdragon-8-gen-1"),
    (("inspect", "llama", "--why", "fuse_rop"), "fuse_rope"),
    (("bench", "--kernels", "--kernel", "gmev"), "gemv"),
    (("tune", "llama.plan", "--kernel", "gemv_cp"), "gemv_cpu"),
    (("run", "llama.plan", "a", "--on", "host", "--dump", "layers.0.kk"), "layers.0.k"),
]


@pytest.mark.parametrize(("args", "meant"), NEAREST, ids=lambda value: str(value))
def test_a_mistyped_name_gets_the_nearest(plan: Path, args: tuple[str, ...], meant: str) -> None:
    error = facts_of(call(*args))
    assert args[-1] in error and meant in error
    assert len(error) < 500  # not all of them
