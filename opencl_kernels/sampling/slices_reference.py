"""What each of the three launches of `slices` leaves, in numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from opencl_kernels.case import symbols
from opencl_kernels.formats import Array
from opencl_kernels.sampling import sample
from opencl_kernels.sampling.sample import Choice

BINS = 1024  # of the histogram of weights


def slices(values_V: Array, case: Choice) -> list[Array]:
    """The slices of a row, as the kernels cut it."""
    ends = np.arange(1, case.GROUPS) * case.V // case.GROUPS
    return np.split(values_V, ends)


def bins_of(weights_V: Array) -> Array:
    """The bin of each weight that is not 0: its leading bit and the five bits after it."""
    fraction, exponent = np.frexp(weights_V.astype(np.float64))
    return np.asarray(32 * (exponent - 1) + (fraction * 64).astype(np.int64) - 32)


def histogram_of(weights_V: Array) -> Array:
    """[3, BINS]: how many weights each bin has, and the two words of what they sum to."""
    some = weights_V[weights_V > 0].astype(np.uint64)
    mass = np.zeros(BINS, np.uint64)
    np.add.at(mass, bins_of(some), some)
    count = np.bincount(bins_of(some), minlength=BINS)
    return np.stack([count, *_words(mass)]).astype(np.uint32)


def _words(numbers: Array) -> tuple[Array, Array]:
    """The low and the high word."""
    return numbers & np.uint64(0xFFFFFFFF), numbers >> np.uint64(32)


def _texts(inputs: Mapping[str, Array], case: Choice) -> tuple[Array, list[Array]]:
    """The ids with those that are fed, and the text of each row that penalties look at."""
    seq, past, _, *start = symbols(case)
    ids = inputs["ids"].copy()
    ids[:, past : past + seq] = inputs["tokens"].reshape(case.B, seq)
    return ids, [_text(row, start[b], past + seq) for b, row in enumerate(ids)]


def _text(ids: Array, start: int, end: int) -> Array:
    """A row's ids up to `end`, of which those before `start` are none."""
    return np.concatenate([np.full(start, -1, np.int32), ids[start:end]])


def last_rows(inputs: Mapping[str, Array], case: Choice) -> Array:
    """The logits [B, V] that the next ids are chosen by."""
    return np.asarray(inputs["logits"].reshape(case.B, -1, case.V)[:, -1])


def best_reference(inputs: Mapping[str, Array], case: Choice) -> dict[str, Array]:
    """The largest value and the largest logit of each slice; the text with its new tokens."""
    ids, texts = _texts(inputs, case)
    tops = np.empty((case.B, case.GROUPS, 2), np.float32)
    top_ids = np.empty((case.B, case.GROUPS), np.int32)
    starts = [0, *np.cumsum([part.size for part in slices(np.arange(case.V), case)])]
    for b, row in enumerate(last_rows(inputs, case)):
        values = sample.penalised(row, inputs["sampling"], texts[b])
        for g, (part, logits) in enumerate(
            zip(slices(values, case), slices(row, case), strict=True)
        ):
            tops[b, g] = part.max(), logits.max()
            top_ids[b, g] = starts[g] + np.argmax(part)
    histogram = np.zeros((case.B, 3, BINS), np.uint32)
    return {"ids": ids, "tops": tops, "top_ids": top_ids, "histogram": histogram}


def _draws(packed: Array) -> bool:
    """Whether an id is drawn, rather than the likeliest taken."""
    temperature, _, top_p, _ = packed.view(np.float32)[:4]
    return bool(temperature > 0 and packed[1] != 1 and top_p > 0)


def weights_reference(inputs: Mapping[str, Array], case: Choice) -> dict[str, Array]:
    """Weights where an id is drawn, and their sums by bins.

    `masses_of` has the sums by slices: a weight may differ in its last bits, and two words don't
    tell of two numbers how close they are.
    """
    histogram, packed = inputs["histogram"].copy(), inputs["sampling"]
    if not _draws(packed):
        return {"histogram": histogram}
    seq, past, _, *start = symbols(case)
    weights = np.empty((case.B, case.V), np.uint32)
    for b, row in enumerate(last_rows(inputs, case)):
        text = _text(inputs["ids"][b], start[b], past + seq)
        values = sample.penalised(row, packed, text)
        weights[b] = sample.weights(values, packed.view(np.float32)[0])
        histogram[b] = histogram_of(weights[b])
    return {"weights": weights, "histogram": histogram}


def masses_of(weights_V: Array, case: Choice) -> Array:
    """[GROUPS, 2]: the two words of what the weights of each slice sum to."""
    sums = [part.astype(np.uint64).sum(dtype=np.uint64) for part in slices(weights_V, case)]
    return np.stack(_words(np.array(sums, np.uint64)), -1).astype(np.uint32)


def pick_reference(inputs: Mapping[str, Array], case: Choice) -> dict[str, Array]:
    """The ids that `sample` chooses, of weights that are known; `past` moves on by `seq`."""
    seq, past, *_ = sym = symbols(case)
    tokens, ids, logprobs = (inputs[name].copy() for name in ("tokens", "ids", "logprobs"))
    end, packed = past + seq, inputs["sampling"]
    low, high = packed.view(np.uint32)[7:9].tolist()
    for b, row in enumerate(last_rows(inputs, case)):
        values, found = inputs["tops"][b, :, 0], inputs["top_ids"][b]
        chosen = int(found[np.argmax(values)])
        if _draws(packed):
            kept = sample.kept_ids(inputs["weights"][b].astype(np.uint64), packed)
            sums = np.cumsum(inputs["weights"][b, kept], dtype=np.uint64)
            random = sample.philox((low, high), (int(end), b, 0, 0))[0] >> 8
            target = np.uint64(int(sums[-1]) * random >> 24)
            chosen = int(kept[np.searchsorted(sums, target, side="right")])
        tokens[b] = ids[b, end] = chosen
        if packed[10]:
            logprobs[b, end] = sample.logprob(row, chosen)
    sym[1] = end
    return {"tokens": tokens, "ids": ids, "logprobs": logprobs, "sym": sym}
