"""`pocketcl simulate MODEL`: parts of its networks are left out, and a text is read with the rest.

The first half of a text says what is frequent and what predictors learn, the other half is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.graph import dim
from toolkit.calibration.sparse.case import Case, Judged, Stage
from toolkit.calibration.sparse.exchange import exchange
from toolkit.calibration.sparse.judge import Fitted, judge, windows_of
from toolkit.calibration.sparse.methods import check
from toolkit.compiler.budget.costs import flash_for
from toolkit.compiler.calibration.feeds import Feeds
from toolkit.compiler.calibration.ids import calibration_ids
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import Source, load_source
from toolkit.devices.resolve import resolve_device
from toolkit.errors import PocketError
from toolkit.offload.legality import BY_MAGNITUDE
from toolkit.simulation.sparse.clock import Clock, Sizes
from toolkit.simulation.sparse.grid import cases_of, check_variants
from toolkit.simulation.sparse.rows import rows

Tell = Callable[[str], None]
TOKENS, WINDOW, LEAST = 4096, 256, 16  # of the text; of a window; the fewest of one
PRECISIONS = {"e0m4": 4.75 / 8, "f16": 2.0, "f32": 4.0}  # bytes of a weight
EXCHANGED = 1024  # tokens that densities are exchanged by
FLASH = "a18"  # that of DIP's authors


def simulate_model(
    src: Path,
    text: Path,
    *,
    grid: str | None = None,
    flash: str | None = None,
    tokens: int | None = None,
    weights: str = "e0m4",
    refit: bool = False,
    exchanged: bool = False,
    progress: Tell | None = None,
    **lists: str | None,
) -> dict[str, Any]:
    """Rows of what each case costs in perplexity and reads (rows.py).

    grid, lists  cases: see grid.py
    flash        whose reads these are; by default that of DIP's authors
    tokens       of the text, at most
    weights      how they would be stored: sizes of reads only, all is computed in float32
    refit        DIP once more with a last matrix that is fitted to what is left
    exchanged    DIP once more with a density for each layer, as the fitted half likes them best
    """
    tell = progress or (lambda _: None)
    cases = cases_of(grid, **lists)
    check_variants(cases, refit, exchanged)
    if refit:
        cases += [replace(case, refit=True) for case in cases if case.sparsity in BY_MAGNITUDE]
    reads = flash_for({}, flash or FLASH)
    source = load_source(src)
    tell("reading the model")
    options = choose(source, resolve_device(None, None), weights="f32")
    model = rewrite_with(source, options)
    ffns = _networks(model, source, cases)
    windows = _windows(source, model, text, tokens or TOKENS, options.context)
    half = len(windows) // 2
    sizes = _sizes(model, ffns, len(windows[0]), PRECISIONS[weights])
    if exchanged:
        cases += _exchanged(model, ffns, windows[:half], cases, tell)
    found, clocks = _judged(model, ffns, windows[:half], windows[half:], cases, sizes, reads, tell)
    return {
        "model": str(source.onnx_path),
        "text": str(text),
        "tokens": sum(map(len, windows[half:])),
        "window": len(windows[0]),
        "flash": reads.name,
        "weights": weights,
        "rows": rows(cases, found, clocks, sizes),
    }


def _judged(
    model: ir.Model,
    ffns: Sequence[Ffn],
    fitted: Sequence[list[int]],
    judged: Sequence[list[int]],
    cases: Sequence[Case],
    sizes: Sizes,
    flash: Any,
    tell: Tell,
) -> tuple[list[list[Judged]], list[Clock]]:
    clocks = {case: Clock(sizes, flash) for case in cases}

    def watch(window: Judged, level: int, stage: Stage) -> None:
        if window.held_out:
            clocks[window.case].note(id(window), stage)

    windows, found = windows_of(fitted, judged, cases)
    judge(model, ffns, windows, Fitted(), watch, tell)
    return found, list(clocks.values())


def _exchanged(
    model: ir.Model,
    ffns: Sequence[Ffn],
    fitted: Sequence[list[int]],
    cases: Sequence[Case],
    tell: Tell,
) -> list[Case]:
    """DIP's cases with densities by layer: by the losses of some of the windows that are fitted."""
    some = fitted[: max(1, EXCHANGED // len(fitted[0]))]
    plain = [case for case in cases if case.sparsity == "dip" and not case.refit]
    by_density = dict[float, tuple[float, ...]]()
    for density in dict.fromkeys(case.density for case in plain):
        tell(f"exchanging densities around {density:g}")

        def losses(lists: Sequence[tuple[float, ...]]) -> list[float]:
            tried = [Case("dip", layers=each) for each in lists]
            windows, found = windows_of(some, some, tried)
            judge(model, ffns, windows, Fitted())
            return [float(np.mean([w.nats for w in each if w.nats is not None])) for each in found]

        by_density[density] = exchange(density, len(ffns), losses).densities
    return [replace(case, layers=by_density[case.density]) for case in plain]


def _networks(model: ir.Model, source: Source, cases: Sequence[Case]) -> list[Ffn]:
    """Those of the model, each of a kind that all cases mean something for."""
    ffns, missed = find_ffns(model)
    if not ffns:
        because = str(missed[0]) if missed else "no two products follow each other as in an FFN"
        hint = "pocketcl inspect MODEL shows its graph"
        raise PocketError(f"{source.onnx_path} has no feed-forward network", because, hint)
    for number, ffn in enumerate(ffns):
        for case in cases:
            check(number, ffn, case)
    return ffns


def _windows(
    source: Source, model: ir.Model, text: Path, tokens: int, context: int
) -> list[list[int]]:
    logits = next(v for v in model.graph.outputs if v.name == roles_of(model).logits)
    hint = "name another text, or put the model's tokenizer.json beside it"
    ids, _ = calibration_ids(source, text, dim(logits, -1) or 1, tokens, hint)
    size = min(WINDOW, context, len(ids) // 2)
    if size < LEAST:
        because = f"it has {len(ids)} tokens, two windows of {LEAST} are needed"
        raise PocketError(f"{text} is too short to simulate", because, "give a longer text")
    return [ids[at : at + size] for at in range(0, len(ids) - size + 1, size)]


def _sizes(model: ir.Model, ffns: Sequence[Ffn], window: int, precision: float) -> Sizes:
    """An embedding counts once, tied or not: as the authors have it, all of it is read."""
    products = sum(ffn.width * ffn.depth * (2 if ffn.gate is None else 3) for ffn in ffns)
    weights = sum(
        tensor.size
        for tensor in (value.const_value for value in model.graph.initializers.values())
        if tensor is not None and tensor.dtype.is_floating_point()
    )
    feeds = Feeds.declared_by(model)
    kv = sum(feeds.grown(past, feeds.empty(past), window).size for past in feeds.slots)
    return Sizes(products, weights - products, kv, precision)
