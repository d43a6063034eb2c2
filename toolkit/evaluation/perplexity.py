"""Perplexity of a plan over a text, its model's own perplexity, and their divergence.

Protocol (as GPTQ, Double Sparsity and DIP state it): the text is tokenised once and cut into
windows that don't overlap; the cache is empty at the start of each; every token of a window but the
first is predicted from those before it. perplexity = exp(sum of negative log likelihoods / tokens),
summed in float64. The remainder at the end is a shorter window of its own, or dropped.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.evaluation.inputs import Scorer, source_of
from toolkit.evaluation.scorers import Batched, Ids, Logits, Stepping, scorer_of
from toolkit.generation.tokenizer import load_tokenizer, read_text
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan

WINDOW = 2048  # tokens, where the context allows
CHUNK = 128  # positions whose logits are in memory at a time


@dataclass
class Totals:
    """Sums over predicted tokens, of the plan and of the reference."""

    nll: float = 0.0
    reference_nll: float = 0.0
    divergence: float = 0.0  # KL(reference || plan)
    same: int = 0  # positions with the same most likely token
    tokens: int = 0
    windows: list[float] = field(default_factory=list)  # NLL per token of each window


def evaluate(
    plan_path: Path,
    text: Path,
    window: int | None = None,
    remainder: str = "keep",
    model: Path | None = None,
    reference: bool = True,
    on: str = "runner",
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Score a text on a plan and on its model in ONNX Runtime; keys as in `pocketcl eval --json`.

    text  a text file, or an .npy file of token ids: [tokens], or [windows, tokens]
    """
    tell = progress or (lambda _: None)
    tell("loading")
    plan = load_plan(plan_path)
    size, batch = _window(int(plan.model["max_context"]), window), int(plan.model["batch"])
    rows = _rows(text, plan_path, plan)
    groups = list(grouped([w for row in rows for w in cut(row, size, remainder)], batch))
    ours = scorer_of(plan_path, on, batch, **options)
    rival = _reference(source_of(plan, model)) if reference else None
    try:
        totals, all_neurons, started = Totals(), Totals(), time.perf_counter()
        for number, group in enumerate(groups):
            tell(_status(number, len(groups), totals, time.perf_counter() - started))
            score_windows(ours.score, rival, group, batch, totals)
            if isinstance(ours, Stepping):
                score_windows(ours.score_all, None, group, batch, all_neurons)
        return _report(totals, size, remainder, ours, rival is not None) | _beside(all_neurons)
    finally:
        ours.close()


def grouped(windows: Sequence[list[int]], batch: int) -> Iterator[Ids]:
    """Windows of equal length, up to `batch` at a time; the longest come first."""
    for length in sorted({len(w) for w in windows}, reverse=True):
        same = [w for w in windows if len(w) == length]
        for start in range(0, len(same), batch):
            yield np.array(same[start : start + batch])


def _rows(path: Path, plan_path: Path, plan: Plan) -> list[list[int]]:
    """The ids of a file: one row of a text, or the rows of an array."""
    if path.suffix == ".npy":
        return _ids_of(path)
    tokenizer = load_tokenizer(plan_path, plan.model)
    if tokenizer is None:
        raise PocketError(
            "this plan can't read text",
            "no tokenizer.json came with its model",
            "pass --text IDS.npy, or put tokenizer.json beside the model and compile again",
        )
    return [tokenizer.encode(read_text(path))]


def _ids_of(path: Path) -> list[list[int]]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PocketError(f"{path} cannot be read", error, "write it with np.save") from None
    if array.ndim not in (1, 2) or array.dtype.kind not in "iu":
        shape = f"{array.dtype} {list(array.shape)}"
        because = "token ids are integers in one or two axes"
        raise PocketError(f"{path} holds {shape}", because, "save the ids of a text, [tokens]")
    rows: list[list[int]] = np.atleast_2d(array).tolist()
    return rows


def cut(ids: Sequence[int], size: int, remainder: str) -> Iterator[list[int]]:
    """Windows of `size` ids; the remainder is a shorter window ("keep") or left out ("drop")."""
    for start in range(0, len(ids), size):
        part = list(ids[start : start + size])
        if len(part) == size or (remainder == "keep" and len(part) > 1):
            yield part


def score_windows(
    score: Callable[[Ids, int], Logits],
    rival: Scorer | None,
    ids_WT: Ids,
    batch: int,
    totals: Totals,
) -> None:
    """Add windows in chunks: the logits of a whole window may be larger than the model."""
    count, length = ids_WT.shape
    full = np.resize(ids_WT, (batch, length))  # a short group is filled by repeating it
    rivals = [copy.copy(rival) for _ in range(count)] if rival is not None else []
    for each in rivals:
        each.reset()
    sums = np.zeros(count)
    for start in range(0, length - 1, CHUNK):
        stop = min(start + CHUNK, length - 1)
        ours = log_softmax(score(full[:, start:stop], start))[:count]
        for w in range(count):
            part, targets = ids_WT[w, start:stop], ids_WT[w, start + 1 : stop + 1]
            sums[w] -= ours[w, np.arange(len(part)), targets].sum()
            if rivals:
                theirs = log_softmax(rivals[w].score(part.tolist()))
                _add_reference(totals, theirs, ours[w], targets)
    totals.nll += float(sums.sum())
    totals.tokens += count * (length - 1)
    totals.windows += (sums / (length - 1)).tolist()


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Over the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True)))


def _add_reference(
    totals: Totals,
    theirs: npt.NDArray[np.float64],
    ours: npt.NDArray[np.float64],
    targets: npt.NDArray[np.int64],
) -> None:
    totals.reference_nll -= float(theirs[np.arange(len(targets)), targets].sum())
    totals.divergence += float((np.exp(theirs) * (theirs - ours)).sum())
    totals.same += int((theirs.argmax(-1) == ours.argmax(-1)).sum())


def _reference(source: Any) -> Scorer:
    from toolkit.compiler.calibration.reference import Reference
    from toolkit.onnx_runtime import Refused

    try:
        return Reference.original(source)
    except Refused as error:
        hint = "pass --no-reference to score only the plan"
        raise PocketError(error.what, error.because, hint) from error


def _window(context: int, wanted: int | None) -> int:
    if wanted is not None and not 2 <= wanted <= context:
        raise PocketError(
            f"a window of {wanted} tokens cannot be scored",
            f"the plan holds {context} positions, and a prediction needs two tokens",
            f"pass --window {min(WINDOW, context)}",
        )
    return wanted or min(WINDOW, context)


def _status(done: int, count: int, totals: Totals, seconds: float) -> str:
    if not done:
        return f"window 1 of {count}"
    left = seconds / done * (count - done)
    so_far = np.exp(totals.nll / totals.tokens)
    return f"window {done + 1} of {count}, perplexity {so_far:.3f} so far, {left:.0f} s left"


def _report(
    totals: Totals, size: int, remainder: str, executor: Batched, compared: bool
) -> dict[str, Any]:
    if not totals.tokens:
        raise PocketError(
            "the text is too short to be scored",
            f"it is shorter than a window of {size} tokens"
            if remainder == "drop"
            else "it has only one token",
            "take a longer text, or a smaller --window",
        )
    spread = float(np.std(totals.windows)) / np.sqrt(len(totals.windows))
    figures = {
        "perplexity": float(np.exp(totals.nll / totals.tokens)),
        "nats_per_token": totals.nll / totals.tokens,
        "standard_error": spread,  # of nats_per_token, over windows
        "tokens": totals.tokens,
        "windows": len(totals.windows),
        "window": size,
        "remainder": remainder,
        "reference_perplexity": None,
        "kl_divergence": None,
        "same_top1": None,
        "executor": executor.name,
        "device": executor.device.label,
        **executor.target.facts(),
    }
    if compared:
        figures["reference_perplexity"] = float(np.exp(totals.reference_nll / totals.tokens))
        figures["kl_divergence"] = totals.divergence / totals.tokens
        figures["same_top1"] = totals.same / totals.tokens
    return figures


def _beside(all_neurons: Totals) -> dict[str, Any]:
    """What is told of a plan that leaves neurons out."""
    if not all_neurons.tokens:
        return {}
    return {"all_neurons_perplexity": float(np.exp(all_neurons.nll / all_neurons.tokens))}


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield f"{figures['executor']} on {figures['device']}"
    error = figures["standard_error"] * figures["perplexity"]
    yield f"  perplexity     {figures['perplexity']:.4f} ± {error:.4f}"
    if "all_neurons_perplexity" in figures:
        yield f"  all neurons    {figures['all_neurons_perplexity']:.4f}; above: those chosen"
    if figures["reference_perplexity"] is not None:
        yield f"  the original   {figures['reference_perplexity']:.4f} (ONNX Runtime)"
        yield f"  KL divergence  {figures['kl_divergence']:.2e} nats a token"
        yield f"  same top-1     {figures['same_top1']:.2%}"
    rest = "the rest is dropped" if figures["remainder"] == "drop" else "the rest is kept"
    windows = f"{figures['windows']} window{'s' * (figures['windows'] != 1)}"
    count = f"{figures['tokens']:,} tokens in {windows}"
    yield f"  predicted      {count} of at most {figures['window']}; {rest}"
