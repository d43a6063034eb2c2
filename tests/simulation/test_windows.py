"""Windows that adapt, where a text needs now many records and now few: against every window that
doesn't."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from flash_toy import FlashToy

from toolkit.cli.commands import cli
from toolkit.executors.host import HostExecutor
from toolkit.offload.flash_model import flash
from toolkit.offload.prediction.token_time import Costs
from toolkit.plan.schema import Gather, Point, Select, Table
from toolkit.simulation.accesses import Access
from toolkit.simulation.replay import Held, Sums, replay

COUNT, BLOCK, BLOCKS = 512, 40, 6  # records; tokens of a kind in a row
SHARES = (0.3, 0.06)  # of records that a token needs: where much is active, and little
SLOTS = 240
TABLE = Table("layers.0.ffn", "neuron", COUNT, 4096, 4096, 0, 0, ())
GATHER = Gather(0, "layers.0.ffn", 0, (), Select("nonzero", ("scratch", 0)), ())


def accesses() -> list[Access]:
    """Records that are needed come again, those that often are more than others."""
    rng = np.random.default_rng(1)
    state, often = rng.standard_normal(COUNT), rng.standard_normal(COUNT)
    found = []
    for step in range(BLOCK * BLOCKS):
        state = 0.8 * state + 0.6 * rng.standard_normal(COUNT)
        scores = state + 0.7 * often
        least = np.quantile(scores, 1 - SHARES[step // BLOCK % 2])
        found.append(Access(step, 0, GATHER, (scores > least).astype(np.float32)))
    return found


def sums(of: list[Access], policy: str, window: int | None = None) -> Sums:
    point = Point(0, (SLOTS,), (0,), (0,), policy, (0.0,), 4096, 65536, 1, 64, window=(1,))
    held = Held(0, TABLE, None, None)
    done = replay(held, of, point, policy, flash("ufs40"), Costs(), window=window)
    return done.tokens


def test_one_that_adapts_reads_less_than_any_that_fits() -> None:
    """By a tenth and more. One that doesn't fit is the policy lru in part, which reads least."""
    of = accesses()
    adapting = sums(of, "window")
    fixed = {window: sums(of, "window", window) for window in (1, 2, 3, 4, 6, 8, 16, 32)}
    fitting = [each for each in fixed.values() if each.left_early == 0]
    assert 1 < len(fitting) < len(fixed)
    assert adapting.read_bytes < 0.9 * min(each.read_bytes for each in fitting)
    assert sums(of, "lru").read_bytes < adapting.read_bytes
    reads = [each.read_bytes for each in fixed.values()]
    assert reads == sorted(reads, reverse=True)


def test_a_command_names_windows(tmp_path: Path) -> None:
    toy = FlashToy(tmp_path / "toy")
    executor = HostExecutor(toy.folder, memory=120_000, trace=tmp_path / "trace")
    list(executor.decode(executor.prefill([3, 1, 4], 0), 3, 30, ()))
    executor.close()

    def told(*words: str) -> str:
        words = ("simulate", str(toy.folder), "--trace", str(tmp_path / "trace"), *words)
        done = CliRunner().invoke(cli, [*words, "--memory", "120000"])
        return done.stdout if done.exit_code == 0 else done.stderr

    figures = json.loads(told("--policy", "lru,window:1,window,window:9", "--json"))
    rows = {row["policy"]: row for row in figures["rows"]}
    assert list(rows) == ["lru", "window:1", "window", "window:9"]
    assert rows["lru"]["left_early"] is None and rows["window:9"]["left_early"] > 0
    assert rows["window:1"]["read_bytes"] >= rows["window:9"]["read_bytes"]
    assert "window:9 *" in told("--policy", "window:9")
    for word in ("lru:3", "window:0", "window:x", "window:"):
        assert f"no policy is called {word}" in told("--policy", word)
