"""`pocketcl calibrate`: what a text says of a model's neurons, and what leaving some out costs.

Layer by layer over all windows of the text: statistics of its FFN, a predictor of the neurons that
aren't zero, and the same held-out windows once more for each recall with only the predicted neurons
computed. Memory: the weights of one layer, and the windows' hidden states.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.graph import dim
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import ZEROING
from toolkit.calibration.seen import RECALLS, Statistics
from toolkit.calibration.sparse.points import Points, is_complete
from toolkit.calibration.sparse.recovery import Recovery
from toolkit.calibration.walk import Walk, Window
from toolkit.compiler.budget.ffn_kind import kind_of
from toolkit.compiler.calibration.ids import calibration_ids
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import Source
from toolkit.devices.resolve import resolve_device
from toolkit.errors import PocketError
from toolkit.predictors.folder import Folder
from toolkit.predictors.layer import Layer

TOKENS, WINDOW = 16384, 512
LEAST = 8  # tokens of a window
HELD_OUT = 10  # one window of so many is for the loss

Progress = Callable[[str], None]


def calibrate(
    source: Source,
    text: Path,
    out: Path,
    tokens: int = TOKENS,
    progress: Progress | None = None,
    refit: bool = False,
) -> dict[str, Any]:
    """Calibrate a model by at most so many tokens of a text; keys as in calibration.json.

    out    the folder; one that was begun with the same model and text is gone on with
    refit  whether last matrices are fitted to what DIP leaves out, and judged (recovery.py)
    """
    tell, started = progress or (lambda _: None), time.perf_counter()
    tell("reading the model")
    options = choose(source, resolve_device(None, None), weights="f32")
    model = rewrite_with(source, options)
    ffns = _ffns_of(model, source)
    recalls = RECALLS if any(kind_of(ffn) in ZEROING for ffn in ffns) else ()
    windows = _windows(_ids(source, text, model, tokens), text, options.context, recalls)
    folder = Folder(out)
    made_of = _made_of(source, text, windows)
    done = folder.begin(made_of, is_complete)
    walk = Walk(model, ffns, windows)
    layers = list(_layers(walk, ffns, folder, done, tell))
    tell("what it costs to leave neurons out")
    found, dense = _losses(walk)
    room = sum(len(window.ids) for window in windows)
    points = Points(model, ffns, folder, dense, room, tell)
    pruned = points.measure()
    fitted = [window.ids for window in windows if not window.held_out]
    recovery = Recovery(model, ffns, folder, pruned, fitted, points.windows(), tell)
    refitted = recovery.measure() if refit else []
    facts = {
        "made_of": made_of,
        "finished": True,
        "tokens": sum(len(w.ids) for w in windows if w.recall is None),
        **found,
        "dip": pruned,
        "refitted": refitted,
        "refits": recovery.refits(refitted),
        "layers": [
            {**layer.figures(), "sha256": folder.digest(n)} for n, layer in enumerate(layers)
        ],
        "seconds": round(time.perf_counter() - started, 2),
    }
    folder.write(facts)
    return facts


def _layers(
    walk: Walk, ffns: Sequence[Ffn], folder: Folder, done: int, tell: Progress
) -> Iterator[Layer]:
    """Every layer, those that are done from their files."""
    for level, ffn in enumerate(ffns):
        tell(f"layer {level + 1} of {len(ffns)}")
        neurons = walk.reach(level)
        if level < done:
            layer = folder.layer(level)
        else:
            seen = Statistics(neurons)
            walk.see(level, neurons, seen.add)
            layer = seen.layer(ffn.down.outputs[0].name or "", kind_of(ffn))
            folder.add(level, layer)
        walk.leave(level, neurons, layer.predicted)
        yield layer


def _losses(walk: Walk) -> tuple[dict[str, Any], list[tuple[list[int], Array]]]:
    """Perplexity of all neurons on held-out text, and of the predicted ones at each recall; and
    nats of each held-out window with all neurons."""
    sums = defaultdict[float | None, list[float]](list)
    densities = defaultdict[float | None, list[float]](list)
    whole: list[tuple[list[int], Array]] = []
    for window, losses in walk.losses():
        if window.recall is None:
            whole.append((window.ids, losses))
        sums[window.recall] += losses.tolist()
        densities[window.recall].append(window.density)
    dense = float(np.mean(sums.pop(None)))
    points = [
        {
            "selector": "lowrank",
            "recall": recall,
            "density": round(float(np.mean(densities[recall])), 4),
            "loss": round(float(np.expm1(np.mean(costs) - dense)), 5),
        }
        for recall, costs in sums.items()
    ]
    return {"perplexity": round(float(np.exp(dense)), 4), "points": points}, whole


def _ffns_of(model: ir.Model, source: Source) -> list[Ffn]:
    found, missed = find_ffns(model)
    if found:
        return found
    because = str(missed[0]) if missed else "no two products follow each other as in an FFN"
    hint = "pocketcl inspect MODEL shows its graph; models of experts come later"
    raise PocketError(f"{source.onnx_path} has no feed-forward network", because, hint)


def _ids(source: Source, text: Path, model: ir.Model, tokens: int) -> list[int]:
    if tokens < 2 * LEAST:
        because = f"two windows of {LEAST} are needed"
        raise PocketError(f"--tokens {tokens} is too little", because, f"--tokens {TOKENS}")
    logits = next(v for v in model.graph.outputs if v.name == roles_of(model).logits)
    hint = "name another text, or put the model's tokenizer.json beside it"
    return calibration_ids(source, text, dim(logits, -1) or 1, tokens, hint)[0]


def _windows(ids: list[int], text: Path, context: int, recalls: Sequence[float]) -> list[Window]:
    """Windows of the text, and each held-out one again for every recall."""
    size = min(WINDOW, context, len(ids) // 2)
    if size < LEAST:
        because = f"it has {len(ids)} tokens, two windows of {LEAST} are needed"
        raise PocketError(f"{text} is too short to calibrate by", because, "give a longer text")
    parts = [ids[at : at + size] for at in range(0, len(ids) - size + 1, size)]
    every = min(HELD_OUT, len(parts))
    windows = [Window(part, n % every == every - 1) for n, part in enumerate(parts)]
    copies = [Window(w.ids, True, recall) for w in windows if w.held_out for recall in recalls]
    return [*windows, *copies]


def _made_of(source: Source, text: Path, windows: Sequence[Window]) -> dict[str, Any]:
    """What makes a calibration this one and no other."""
    return {
        "model": str(source.onnx_path),
        "model_sha256": source.sha256,
        "text": str(text),
        "text_sha256": hashlib.sha256(text.read_bytes()).hexdigest(),
        "windows": sum(w.recall is None for w in windows),
        "window": len(windows[0].ids),
    }
