"""`pocketcl eval`: sums against numpy, windows, the demo plan against ONNX Runtime."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fake import CONTEXT, VOCAB, FakeExecutor, logits_row

import toolkit
import toolkit.evaluation.perplexity as perplexity
from toolkit.cli import cli
from toolkit.errors import PocketError
from toolkit.evaluation.scorers import OneText

DEMO = Path(toolkit.__file__).parent / "demo_model"


class FakeScorer:
    """A model whose logits are those of FakeExecutor, a little warmer."""

    past = 0

    def reset(self) -> None:
        self.past = 0

    def score(self, ids: list[int]) -> np.ndarray:
        rows = np.stack([logits_row(t, self.past + i) for i, t in enumerate(ids)]) * 0.9
        self.past += len(ids)
        return rows.astype(np.float32)


def probabilities(ids: list[int], factor: float) -> np.ndarray:
    rows = factor * np.stack([logits_row(t, i) for i, t in enumerate(ids)]).astype(np.float64)
    return np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)


@pytest.mark.parametrize("chunk", [1, 7, 128])
def test_sums_equal_numpy(
    executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(perplexity, "CHUNK", chunk)
    ids = np.random.default_rng(0).integers(0, VOCAB, 63).tolist()
    totals = perplexity.Totals()
    ours = OneText(executor)
    perplexity.score_windows(ours.score, FakeScorer(), np.array([ids]), 1, totals)
    p, q = probabilities(ids[:-1], 1.0), probabilities(ids[:-1], 0.9)
    at = np.arange(62), np.array(ids[1:])
    assert totals.tokens == 62
    assert totals.nll == pytest.approx(-np.log(p[at]).sum(), rel=1e-5)
    assert totals.reference_nll == pytest.approx(-np.log(q[at]).sum(), rel=1e-5)
    assert totals.divergence == pytest.approx((q * np.log(q / p)).sum(), rel=1e-4)
    assert totals.same == 62


def test_windows_keep_or_drop_the_rest() -> None:
    ids = list(range(23))
    assert [len(w) for w in perplexity.cut(ids, 10, "keep")] == [10, 10, 3]
    assert [len(w) for w in perplexity.cut(ids, 10, "drop")] == [10, 10]
    assert [len(w) for w in perplexity.cut(ids[:21], 10, "keep")] == [
        10,
        10,
    ]  # one id predicts none


def test_windows_of_equal_length_go_together() -> None:
    windows = [[1, 2, 3], [4, 5, 6], [7, 8], [9, 10, 11]]
    groups = [group.tolist() for group in perplexity.grouped(windows, 2)]
    assert groups == [[[1, 2, 3], [4, 5, 6]], [[9, 10, 11]], [[7, 8]]]


def test_a_batch_scores_as_single_texts(tmp_path: Path, demo_plan: Path) -> None:
    """Five windows and a shorter one in batches of three, on a plan with chunks of 16."""
    ids = np.random.default_rng(2).integers(0, 1024, 5 * 40 + 9)
    np.save(tmp_path / "ids.npy", ids)
    out, run = tmp_path / "three.plan", CliRunner()
    options = ["-o", str(out), "--batch", "3", "--prefill-chunk", "16"]
    assert run.invoke(cli, ["compile", str(DEMO), *options]).exit_code == 0
    figures = []
    for plan in (out, demo_plan):
        arguments = [
            "--text",
            str(tmp_path / "ids.npy"),
            "--window",
            "40",
            "--on",
            "host",
            "--json",
        ]
        done = run.invoke(cli, ["eval", str(plan), *arguments])
        assert done.exit_code == 0, done.output
        figures.append(json.loads(done.stdout))
    assert figures[0]["windows"] == figures[1]["windows"] == 6
    assert figures[0]["perplexity"] == pytest.approx(figures[1]["perplexity"], rel=1e-6)
    assert figures[0]["kl_divergence"] < 1e-9
    refused = run.invoke(cli, ["run", str(out), "--ids", "1", "--on", "host"])
    assert refused.exit_code == 1 and "batch" in refused.stderr


@pytest.mark.parametrize("window", [1, CONTEXT + 1])
def test_a_window_must_fit(window: int) -> None:
    with pytest.raises(PocketError, match="cannot be scored"):
        perplexity._window(CONTEXT, window)


@pytest.fixture(scope="module")
def demo_plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "demo.plan"
    assert CliRunner().invoke(cli, ["compile", str(DEMO), "-o", str(out)]).exit_code == 0
    return out


def test_the_demo_scores_as_its_model(tmp_path: Path, demo_plan: Path) -> None:
    run, plan = CliRunner(), demo_plan
    ids = np.random.default_rng(1).integers(0, 1024, (2, 65))
    np.save(tmp_path / "ids.npy", ids)
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time, there was a little girl named Lily. " * 20, encoding="utf-8")
    for file, tokens in ((tmp_path / "ids.npy", 128), (text, None)):
        done = run.invoke(cli, ["eval", str(plan), "--text", str(file), "--on", "host", "--json"])
        assert done.exit_code == 0, done.output
        figures = json.loads(done.stdout)
        assert figures["perplexity"] == pytest.approx(figures["reference_perplexity"], rel=1e-5)
        assert 0 <= figures["kl_divergence"] < 1e-9 and figures["same_top1"] == 1
        assert tokens is None or figures["tokens"] == tokens


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("text.txt", b"\xff\xfe\x00bad", "is not UTF-8"),
        ("ids.npy", b"nothing", "cannot be read"),
        ("one.txt", b"", "too short"),
    ],
)
def test_bad_texts(tmp_path: Path, name: str, content: bytes, what: str, demo_plan: Path) -> None:
    (tmp_path / name).write_bytes(content)
    done = CliRunner().invoke(
        cli,
        ["eval", str(demo_plan), "--text", str(tmp_path / name), "--on", "host", "--no-reference"],
    )
    assert done.exit_code == 1
    assert what in done.stderr and "Traceback" not in done.stderr
