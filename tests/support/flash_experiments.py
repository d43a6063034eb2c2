"""Four ideas for weights in flash that are tried on trained models, as README tells of them.

    python tests/support/flash_experiments.py [--models ../shared/models]

Compressed records, neighbours that fire together, thresholds that follow a text, features of the
layer before. Predictors, orders and what stays in memory come from one half of TinyStories; they
are judged by tokens of the other half, thresholds by those of WikiText-2 as well. All but the rates
of decoding is the same in each run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import predictor_experiments as of_predictors
import record_experiments as of_records
from exports import COLLECTION, DEMO
from passed_models import AGAIN, DENSE, FIXED, ONLINE, RECALL, Layer, Model, graph_of, passed

from onnx_passes.analysis.ffn import find_ffns
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.offload.flash_model import flash
from toolkit.predictors.predictor import Predictor
from toolkit.predictors.thresholds import Outcome, threshold_for

MODELS = {
    "relu": "real/trained-llama_relu-onnx-optimum",
    "opt": "real/trained-opt_relu-onnx-optimum",
    "silu": "real/trained-llama_silu-onnx-optimum",
    "stories260K": "real/stories260K-onnx-optimum",
}
RELU = ("relu", "opt")  # of which neurons are zero
TEXTS = ("tinystories.txt", "wikitext2_valid.txt")
KEPT = 0.5  # of the neurons of a layer, in memory
RECORDS = {"8 KiB": (7296, 8192), "1.3 KB": (1368, 1368)}  # 7 B, whole pages; 125 M, packed
FLASH = flash("ufs40")


def compressed(models: Path) -> Iterator[str]:
    """A row a model: bits, shares of bytes that are left, rates of decoding."""
    names = list(of_records.codecs())
    yield (
        "| records | bytes | bits a code | a scale | zeros | order 0 | ANS | "
        + " | ".join(f"{n}: whole, alone, GB/s" for n in names)
        + " |"
    )
    paths = {"demo": DEMO, **{name: models / path for name, path in MODELS.items()}}
    for name, path in paths.items():
        of = [Neurons.of(ffn) for ffn in find_ffns(graph_of(path))[0]]
        parts = [[m for m in (each.gate, each.up, each.down) if m is not None] for each in of]
        s = of_records.squeezed(parts)
        told = " | ".join(
            f"{s.left[n][0]:.1%}, {s.left[n][1]:.1%}, {s.left[n][2] / 1e9:.2f}" for n in names
        )
        yield (
            f"| {name} | {s.size} | {s.code_bits:.2f} | {s.scale_bits:.1f} | {s.zeros:.1%} "
            f"| {s.bound:.1%} | {s.ans:.1%} | {told} |"
        )


def together(name: str, model: Model) -> Iterator[str]:
    """Rows of reads by order, means of a token, all layers added."""
    yield "| neurons together | record | in memory | order | reads | KB | µs | of frequency |"
    for kind, (size, stride) in RECORDS.items():
        for kept in (0.0, KEPT):
            sums = _by_order(model, kept, size, stride)
            base = sums["frequency"][2]
            for order, (reads, bytes_, seconds) in sums.items():
                told = f"{reads:.0f} | {bytes_ / 1e3:.0f} | {1e6 * seconds:.0f}"
                yield f"| {name} | {kind} | {kept:.0%} | {order} | {told} | {seconds / base:.2f} |"


def _by_order(model: Model, kept: float, size: int, stride: int) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for layer in model.layers:
        fitted, judged = layer.fitted["h"] != 0, layer.judged["h"] != 0
        resident = int(kept * fitted.shape[1])
        often = of_records.frequency_order(fitted)
        rng = np.random.default_rng(0)
        mixed = np.concatenate([often[:resident], rng.permutation(often[resident:])])
        alike = of_records.likeness(fitted)
        alike[:, often[:resident]] = -1
        orders = {
            "frequency": often,
            "together": of_records.together_order(fitted, resident),
            "random": mixed,
        }
        each = {
            name: of_records.reads_in_order(judged, order, resident, size, stride, FLASH)
            for name, order in orders.items()
        }
        pairs = (judged, alike.argmax(axis=1), often, resident, stride, FLASH)
        each["with a friend's copy"] = of_records.reads_of_pairs(*pairs)
        for name, r in each.items():
            found[name] = found.get(name, 0) + np.array([r.reads, r.bytes, r.seconds])
    return found


def online(name: str, model: Model) -> Iterator[str]:
    """Rows of thresholds by text, means of the layers."""
    yield "| thresholds | text | way | recall | least of a layer | predicted/true | perplexity |"
    for number, text in enumerate(TEXTS):
        yield f"| {name} | {text} | {DENSE} | | | | {model.losses[number, DENSE]:.3f} |"
        for way in (FIXED, ONLINE, AGAIN):
            each = model.outcomes[number, way]
            mean = of_predictors.mean_outcome(each)
            told = f"{mean.recall:.3f} | {min(o.recall for o in each):.3f}"
            told += f" | {mean.predicted_over_true:.2f} | {model.losses[number, way]:.3f}"
            yield f"| {name} | {text} | {way} | {told} |"


def before(name: str, model: Model) -> Iterator[str]:
    """Rows of features by layer that they are of, means of the layers behind the first."""
    first = "| features | of | numbers | recall | predicted/true | misses found early | useful "
    yield first + "| idle for half |"
    sums: dict[str, list[tuple[float, Outcome, of_predictors.Early]]] = {}
    for above, layer in zip(model.layers, model.layers[1:], strict=False):
        for what, row in _features(above, layer):
            sums.setdefault(what, []).append(row)
    for what, rows in sums.items():
        numbers, outcomes, each = zip(*rows, strict=True)
        mean = of_predictors.mean_outcome(outcomes)
        found, useful, idle = np.mean([(e.found, e.useful, e.idle) for e in each], axis=0).tolist()
        told = f"{np.mean(numbers):,.0f} | {mean.recall:.3f} | {mean.predicted_over_true:.2f}"
        yield f"| {name} | {what} | {told} | {found:.0%} | {useful:.0%} | {idle:.2f} |"


def _features(
    above: Layer, layer: Layer
) -> Iterator[tuple[str, tuple[float, Outcome, of_predictors.Early]]]:
    assert layer.predictor is not None
    rank, mean = layer.predictor.rank, 0.0
    ahead = {part: of_predictors.unit(rows["stream"]) for part, rows in _parts(above)}
    units = {part: rows["h"] for part, rows in _parts(above)}
    behind = {
        part: of_predictors.unit(rows["stream"] + above.neurons.output(rows["h"]))
        for part, rows in _parts(above)
    }
    yield "own input", _row(layer, layer.predictor, mean, layer.judged["x"])
    if layer.gamma is not None:
        seen = ahead["judged"] * layer.gamma
        yield "look-ahead as it is", _row(layer, layer.predictor, mean, seen)
        scores = layer.predictor.scores(ahead["fitted"] * layer.gamma)
        least = threshold_for(scores, _active(layer, "fitted"), RECALL)
        own_threshold = replace(layer.predictor, threshold=least)
        yield "with its own threshold", _row(layer, own_threshold, mean, seen)
    for what, seen_by, its_rank in (
        ("stream before the last network", ahead, rank),
        ("stream behind it", behind, rank),
        ("the last network's units", units, rank),
        ("these, half the rank", units, max(16, rank // 2)),
    ):
        fitted = of_predictors.Features(
            layer.fitted["x"], seen_by["fitted"], _active(layer, "fitted")
        )
        found = of_predictors.mapped(*layer.neurons.deciding, fitted, its_rank, RECALL)
        yield what, _row(layer, *found, seen_by["judged"])


def _parts(layer: Layer) -> tuple[tuple[str, dict[str, Array]], ...]:
    return ("fitted", layer.fitted), ("judged", layer.judged)


def _row(
    layer: Layer, found: Predictor, mean: Array | float, seen: Array
) -> tuple[float, Outcome, of_predictors.Early]:
    active = _active(layer, "judged")
    judge = of_predictors.Features(layer.judged["x"], seen, active)
    scores, told = of_predictors.judged(found, mean, judge)
    resident = of_predictors.most_frequent(_active(layer, "fitted"), KEPT)
    numbers = found.rank * (found.A.codes_NK.shape[1] + found.B.codes_NK.shape[0])
    return float(numbers), told, of_predictors.early(scores, found.threshold, active, resident)


def _active(layer: Layer, part: str) -> Array:
    values: dict[str, Array] = getattr(layer, part)
    return np.asarray(values["h"] != 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path, default=COLLECTION)
    given = parser.parse_args()
    for line in compressed(given.models):
        print(line, flush=True)
    for its in RELU:
        its_model = passed(given.models / MODELS[its], [given.models / "text" / t for t in TEXTS])
        for tell in (together, online, before):
            for line in tell(its, its_model):
                print(line, flush=True)
