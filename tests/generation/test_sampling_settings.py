"""What may be asked of the sampler, and what a command line makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from toolkit import cli
from toolkit.errors import PocketError
from toolkit.executors.sampling import Sampling
from toolkit.generation.sampling_settings import choose_sampling, model_settings, without_effect


@pytest.mark.parametrize(
    "option",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 1e-6},
        {"temperature": "hot"},
        {"temperature": True},
        {"top_k": -1},
        {"top_k": 257},
        {"top_k": 2.5},
        {"top_p": 1.01},
        {"top_p": -0.1},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"presence_penalty": float("nan")},
        {"frequency_penalty": 1000},
        {"seed": -1},
        {"seed": 2**64},
        {"window": -3},
        {"logprobs": 5},
    ],
    ids=str,
)
def test_impossible_options_are_named(option: dict[str, Any]) -> None:
    with pytest.raises(PocketError) as caught:
        Sampling(**option)
    name, value = next(iter(option.items()))
    assert caught.value.what == f"{name} {value!r} is not possible"
    assert caught.value.because and caught.value.hint


def test_words() -> None:
    assert Sampling().words().view(np.float32)[[0, 2, 3, 4, 5, 6]].tolist() == [0, 1, 0, 1, 0, 0]
    words = Sampling(0.5, 40, 0.9, 0.05, 1.1, 0.2, 0.3, 2**33 + 7, 64, True).words()
    assert words.dtype == np.int32 and words.shape == (16,)
    floats = words.view(np.float32)[[0, 2, 3, 4, 5, 6]]
    np.testing.assert_array_equal(floats, np.array([0.5, 0.9, 0.05, 1.1, 0.2, 0.3], np.float32))
    assert words[[1, 7, 8, 9, 10]].tolist() == [40, 7, 2, 64, 1]
    assert not words[11:].any()


def test_greedy_unless_asked() -> None:
    settings = {"temperature": 0.6, "top_k": 50, "top_p": 0.9}
    assert choose_sampling(settings, {}) == Sampling()
    chosen = choose_sampling(settings, {"top_p": 0.5, "seed": 3, "min_p": None}, sample=True)
    assert chosen == Sampling(0.6, 50, 0.5, seed=3)
    assert choose_sampling({}, {"seed": 1}, sample=True) == Sampling(1.0, seed=1)
    assert choose_sampling({}, {"temperature": 0.3, "seed": 1}) == Sampling(0.3, seed=1)
    assert choose_sampling({"top_k": 1000}, {"seed": 1}, sample=True).top_k == 256


def test_a_random_text_has_a_seed_of_its_own() -> None:
    assert choose_sampling({}, {}).seed == 0
    assert len({choose_sampling({}, {"temperature": 1.0}).seed for _ in range(4)}) > 1


def test_options_without_effect() -> None:
    given = {"top_k": 5, "seed": 1, "top_p": None, "repetition_penalty": 1.2}
    assert without_effect(Sampling(top_k=5, seed=1), given) == ["top_k", "seed"]
    assert without_effect(Sampling(1.0), given) == []


def test_settings_of_a_model(tmp_path: Path) -> None:
    assert model_settings(tmp_path) == {}
    hugging_face = {"temperature": 0.6, "top_k": 50, "top_p": None, "max_length": 20}
    (tmp_path / "generation_config.json").write_text(json.dumps(hugging_face))
    assert model_settings(tmp_path) == {"temperature": 0.6, "top_k": 50}
    genai = {"model": {"type": "llama"}, "search": {"top_k": 1, "repetition_penalty": 1.1}}
    (tmp_path / "genai_config.json").write_text(json.dumps(genai))
    assert model_settings(tmp_path) == {"temperature": 0.6, "top_k": 1, "repetition_penalty": 1.1}
    (tmp_path / "genai_config.json").write_text('{"search": [1]}')
    with pytest.raises(PocketError, match="genai_config"):
        model_settings(tmp_path)


# --- the command line ---------------------------------------------------------------------------

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plans") / "demo.plan"
    assert run("compile", DEMO, "-o", out, "--device", "pocl").exit_code == 0
    return out


def run(*args: Any) -> Result:
    return CliRunner().invoke(cli.cli, [str(arg) for arg in args])


def told(plan: Path, *args: Any) -> dict[str, Any]:
    usual = ("run", plan, "--prompt", "Once upon a time", "--max-new-tokens", 20, "--json")
    result = run(*usual, *args)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize("on", ["host", "runner"])
def test_run_with_options(plan: Path, on: str) -> None:
    options = ("--temperature", 1.5, "--top-k", 50, "--seed", 4, "--logprobs", "--on", on)
    first, second = told(plan, *options), told(plan, *options)
    assert first["ids"] == second["ids"] != told(plan, "--on", on)["ids"]
    assert len(first["logprobs"]) == len(first["ids"]) and max(first["logprobs"]) <= 0
    assert first["sampling"]["seed"] == 4 and first["sampling"]["top_k"] == 50


def test_host_and_runner_write_one_story(plan: Path) -> None:
    options = ("--temperature", 1.0, "--min-p", 0.05, "--seed", 8, "--repetition-penalty", 1.2)
    reports = [told(plan, *options, "--on", on) for on in ("host", "runner")]
    assert reports[0]["ids"] == reports[1]["ids"] and reports[0]["text"] == reports[1]["text"]


def test_sample_takes_the_models_own_settings(plan: Path) -> None:
    report = told(plan, "--sample", "--seed", 1, "--on", "host")
    assert report["sampling"]["temperature"] > 0
    assert told(plan, "--sample", "--temperature", 0, "--on", "host")["sampling"]["seed"] == 0


def test_logprobs_are_printed_for_people(plan: Path) -> None:
    result = run("run", plan, "--ids", "0,377", "--max-new-tokens", 3, "--logprobs", "--on", "host")
    assert [line.split()[0][0] for line in result.stdout.splitlines()[1:]] == ["-"] * 3


def test_a_greedy_text_says_what_it_ignores(plan: Path) -> None:
    result = run("run", plan, "--ids", "0,377", "--max-new-tokens", 1, "--top-k", 3, "--on", "host")
    assert result.exit_code == 0
    assert result.stderr == "note: --top-k needs --temperature T or --sample: this is greedy\n"


@pytest.mark.parametrize(
    "args", [("--temperature", -1), ("--top-k", 300), ("--top-p", 1.5), ("--stop", "")]
)
def test_impossible_options_are_errors(plan: Path, args: tuple[Any, ...]) -> None:
    result = run("run", plan, "--ids", "0,377", "--on", "host", *args)
    labels = [line[:11] for line in result.stderr.splitlines()]
    assert result.exit_code == 1 and labels[1:] == ["  because: ", "  try:     "]
