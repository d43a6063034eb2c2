"""--memory and --flash of the commands that run a plan."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from flash_toy import RECORD, F, FlashToy
from toy import Toy

from toolkit.cli.commands import cli
from toolkit.cli.options import FLASH
from toolkit.offload.flash_model import FLASHES


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FlashToy(tmp_path_factory.mktemp("flash")).folder


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


def test_the_profiles_of_the_option_are_those_there_are() -> None:
    @click.command()
    @FLASH
    def command() -> None: ...

    (option,) = command.params
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == [each.name for each in FLASHES]


@pytest.mark.parametrize("memory", ["98000", "150000", "100%"])
def test_a_run_is_the_same_at_each_budget(plan: Path, memory: str) -> None:
    done = call("run", plan, "--ids", "3,1,4,1,5", "-n", 4, "--json", "--memory", memory)
    figures = json.loads(done.stdout)
    toy = FlashToy(plan)
    assert figures["ids"] == toy.continued([3, 1, 4, 1, 5], 4)
    flash = figures["flash"]
    assert flash["imitated"] is False and flash["late_share"] is None
    whole = 2 * F * RECORD.nbytes
    assert (flash["record_bytes"] == whole) == (memory == "100%")


def test_times_of_a_late_imitation_are_withheld(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.offload.counts.MOST_LATE", -1.0)
    words = ("--flash", "m1max", "--memory", "98000", "--json")
    done = call("run", plan, "--ids", "3,1,4", "-n", 4, *words)
    figures = json.loads(done.stdout)
    assert figures["prefill_s"] is None and figures["decode_s"] is None and figures["ids"]
    assert figures["flash"]["imitated"] is True and "figures withheld" in done.stderr
    few = ("--prompt-tokens", 4, "--new-tokens", 4, "--repeats", 1)
    done = call("bench", plan, *few, *words)
    assert done.exit_code == 1 and "imitation of m1max was late" in done.stderr


@pytest.mark.parametrize("command", ["run", "chat", "verify", "eval", "bench"])
def test_each_command_says_what_is_too_little(plan: Path, tmp_path: Path, command: str) -> None:
    text = tmp_path / "ids.npy"
    np.save(text, np.array([3, 1, 4, 1, 5]))
    more = {"run": ["--ids", "3"], "eval": ["--text", text, "--no-reference"]}
    more["bench"] = ["--new-tokens", "8"]
    done = call(command, plan, "--memory", "1000", *more.get(command, []))
    assert done.exit_code == 1
    assert "does not run in 1000 bytes" in done.stderr and "weights" in done.stderr


def test_what_makes_no_sense_is_refused(plan: Path, tmp_path: Path) -> None:
    dense = Toy(tmp_path / "dense").folder
    for option, value in (("--memory", "50%"), ("--flash", "ufs40")):
        done = call("run", dense, "--ids", "3", option, value)
        assert done.exit_code == 1 and f"{option} has no effect" in done.stderr
    host = call("run", plan, "--ids", "3", "--flash", "ufs40", "--on", "host")
    assert host.exit_code == 1 and "--on runner" in host.stderr
    for words in (("--flash", "floppy"), ("--memory", "much"), ("--memory", "90%,100%", "--ui")):
        assert call("bench", plan, *words).exit_code == 2


def test_what_a_run_wrote_down_is_replayed(plan: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    words = ("run", plan, "--ids", "3,1,4", "-n", 5, "--memory", "98000", "--trace-access", trace)
    told = json.loads(call(*words, "--json").stdout)
    assert told["ids"] and len(trace.read_text().splitlines()) == 2 * 5
    done = call("simulate", plan, "--trace", trace, "--memory", "98000,100%", "--json")
    rows = json.loads(done.stdout)["rows"]
    assert {row["memory"] <= 98_000 for row in rows[:5]} == {True}
    assert all(row["hit_rate"] == 1 for row in rows[5:]) and rows[0]["hit_rate"] < 1
    lines = call("simulate", plan, "--trace", trace, "--policy", "lru,belady").stdout
    assert "simulated: 4 tokens" in lines and "belady" in lines
    begun = {row["policy"]: row["opening_bytes"] for row in rows[:5]}
    told = json.loads(call(*words, "--json").stdout)  # warm: a line in front for each table
    lines = [json.loads(each) for each in trace.read_text().splitlines()]
    assert [each["t"] for each in lines] == [-1, -1, *(t for t in range(5) for _ in range(2))]
    done = call("simulate", plan, "--trace", trace, "--memory", "98000", "--json")
    [row] = [each for each in json.loads(done.stdout)["rows"] if each["policy"] == "lru"]
    assert row["opening_bytes"] == sum(each["read"] for each in lines[:2]) >= begun["lru"]
    for key, named in (("hits", "hit"), ("read_bytes", "read")):
        assert row[key] == sum(each[named] for each in lines[2:])
    phone = call(*words, "--on", "phone")
    assert phone.exit_code == 1 and "does not go with --on phone" in phone.stderr
    dense = Toy(tmp_path / "dense").folder
    done = call("run", dense, "--ids", "3", "--trace-access", trace)
    assert done.exit_code == 1 and "--trace-access has no effect" in done.stderr


@pytest.mark.parametrize(
    "words, told",
    [
        (("--budgets", "50%,x"), "'x' is no size"),
        (("--budgets", "50%@tape"), "'tape' is not one of"),
        (("--budgets", "50%", "--memory", "50%"), "--budgets goes with"),
        (("--budgets", "50%", "--ladder", "lif"), "--budgets goes with"),
    ],
)
def test_budgets_of_a_bench(plan: Path, words: tuple[str, ...], told: str) -> None:
    done = call("bench", plan, *words)
    assert done.exit_code == 2 and told in done.stderr
