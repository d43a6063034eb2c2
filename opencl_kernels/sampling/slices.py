"""Choosing the next id in three launches, of which two read the vocabulary with many work-groups.

    sample_best  ->  sample_weights  ->  sample_pick

For GPUs, where one work-group would take milliseconds. The ids are those of the family `sample`,
and its reference says how they are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from opencl_kernels.case import Defines, symbols
from opencl_kernels.family import Family, token_ids
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, Requires, Role
from opencl_kernels.sampling import sample
from opencl_kernels.sampling.sample import Choice
from opencl_kernels.tuned import usual_knobs

BINS = 1024
MOST_GROUPS = 64  # every work-group reads what each of them has found
LEAST_SLICE = 512  # ids that are worth a work-group


def groups_of(vocabulary: int, compute_units: int) -> int:
    """Into how many slices a vocabulary is cut on a device: several for each compute unit."""
    return max(1, min(4 * compute_units, MOST_GROUPS, vocabulary // LEAST_SLICE))


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
    padding = [np.full(start[b], -1, np.int32) for b in range(case.B)]
    texts = [np.concatenate([padding[b], ids[b, start[b] : past + seq]]) for b in range(case.B)]
    return ids, texts


def _counts(text: Array, packed: Array, case: Choice) -> Array:
    window = int(packed[9])
    seen = text[-window:] if window > 0 else text
    return np.bincount(seen[(seen >= 0) & (seen < case.V)], minlength=case.V).astype(np.uint32)


def _last_rows(inputs: Mapping[str, Array], case: Choice) -> Array:
    return np.asarray(inputs["logits"].reshape(case.B, -1, case.V)[:, -1])


def _is_penalised(packed: Array) -> bool:
    repeat, flat, each = packed.view(np.float32)[4:7]
    return bool(repeat != 1 or flat != 0 or each != 0)


def best_reference(inputs: Mapping[str, Array], case: Choice) -> dict[str, Array]:
    """The largest value and the largest logit of each slice; the text with its new tokens."""
    ids, texts = _texts(inputs, case)
    tops = np.empty((case.B, case.GROUPS, 2), np.float32)
    top_ids = np.empty((case.B, case.GROUPS), np.int32)
    starts = [0, *np.cumsum([part.size for part in slices(np.arange(case.V), case)])]
    counts = np.zeros((case.B, case.V), np.uint32)
    for b, row in enumerate(_last_rows(inputs, case)):
        values = sample.penalised(row, inputs["sampling"], texts[b])
        counts[b] = _counts(texts[b], inputs["sampling"], case)
        for g, (part, logits) in enumerate(
            zip(slices(values, case), slices(row, case), strict=True)
        ):
            tops[b, g] = part.max(), logits.max()
            top_ids[b, g] = starts[g] + np.argmax(part)
    found = {"ids": ids, "tops": tops, "top_ids": top_ids}
    found["histogram"] = np.zeros((case.B, 3, BINS), np.uint32)
    return found | ({"weights": counts} if _is_penalised(inputs["sampling"]) else {})


def _draws(packed: Array) -> bool:
    """Whether an id is drawn, rather than the likeliest taken."""
    temperature, _, top_p, _ = packed.view(np.float32)[:4]
    return bool(temperature > 0 and packed[1] != 1 and top_p > 0)


def weights_reference(inputs: Mapping[str, Array], case: Choice) -> dict[str, Array]:
    """Weights where an id is drawn, and their sums by bins.

    `masses_of` has the sums by slices: a weight may differ in its last bits, and two words don't
    tell of two numbers how close they are.
    """
    weights, histogram = inputs["weights"].copy(), inputs["histogram"].copy()
    packed = inputs["sampling"]
    for b, row in enumerate(_last_rows(inputs, case)):
        if _draws(packed):
            count = inputs["weights"][b].astype(np.int64)
            text = np.repeat(np.arange(case.V), count) if _is_penalised(packed) else np.empty(0)
            every = packed.copy()
            every[9] = 0  # the counts are of the window
            values = sample.penalised(row, every, text.astype(np.int32))
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
    for b, row in enumerate(_last_rows(inputs, case)):
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


def _arguments(case: Choice, **roles: Role) -> tuple[Argument, ...]:
    """Of all that the launches share, those that one has, in its order."""
    new, text = (case.B * case.symbols.seq,), (case.B, case.C + 1)
    every = {
        "logits": ("f32", (case.M, case.V)),
        "sampling": ("i32", (sample.PARAMETERS,)),
        "tokens": ("i32", new),
        "ids": ("i32", text),
        "weights": ("u32", (case.B, case.V)),
        "tops": ("f32", (case.B, case.GROUPS, 2)),
        "top_ids": ("i32", (case.B, case.GROUPS)),
        "histogram": ("u32", (case.B, 3, BINS)),
        "masses": ("u32", (case.B, case.GROUPS, 4)),
        "candidates": ("u32", (case.V, 2)),
        "logprobs": ("f32", text),
    }
    ids = {"tokens": token_ids(new, case.V), "ids": token_ids(text, case.V)}
    return tuple(Argument(n, *every[n], role, random=ids.get(n)) for n, role in roles.items())


def _best_arguments(case: Choice) -> tuple[Argument, ...]:
    return _arguments(
        case, logits="in", sampling="in", tokens="in", ids="inout", weights="out",
        tops="out", top_ids="out", histogram="out",
    )  # fmt: skip


def _weights_arguments(case: Choice) -> tuple[Argument, ...]:
    return _arguments(
        case, logits="in", sampling="in", tops="in", top_ids="in", weights="inout",
        histogram="inout", masses="out",
    )  # fmt: skip


def _pick_arguments(case: Choice) -> tuple[Argument, ...]:
    return _arguments(
        case, logits="in", sampling="in", tops="in", top_ids="in", weights="in",
        histogram="in", masses="in", candidates="out", tokens="inout", ids="inout",
        logprobs="inout",
    )  # fmt: skip


def _given(case: Choice) -> dict[str, Array]:
    return {"sampling": sample.packed_parameters(**(case.options or {}))}


def _before_weights(case: Choice) -> dict[str, Array]:
    """What the first launch leaves, of random logits and texts."""
    rng = np.random.default_rng(0)
    inputs: dict[str, Array] = _given(case)
    for argument in _arguments(case, logits="in", tokens="in", ids="in", logprobs="in"):
        if argument.random is None:
            inputs[argument.name] = rng.standard_normal(argument.shape).astype(np.float32)
        else:
            inputs[argument.name] = argument.random(rng).astype(np.int32)
    counts = np.zeros((case.B, case.V), np.uint32)
    return inputs | {"weights": counts} | best_reference(inputs, case)


def _before_pick(case: Choice) -> dict[str, Array]:
    inputs = _before_weights(case)
    inputs |= weights_reference(inputs, case)
    rows = zip(inputs["weights"], _last_rows(inputs, case), strict=True)
    masses = [
        np.concatenate([masses_of(w, case), masses_of(sample.weights(row), case)], -1)
        for w, row in rows
    ]
    return inputs | {"masses": np.stack(masses)}


def _named(values: Mapping[str, Array], arguments: tuple[Argument, ...]) -> dict[str, Array]:
    return {a.name: values[a.name] for a in arguments if a.role != "out"}


def _defines(case: Choice, knobs: Knobs) -> Defines:
    return {"B": case.B, "V": case.V, "C": case.C, "GROUPS": case.GROUPS, "WG": knobs["WG"]}


def _slices_grid(case: Choice, knobs: Knobs) -> Grid:
    return (case.GROUPS * knobs["WG"], case.B), (knobs["WG"], 1)


def _pick_grid(_: Choice, knobs: Knobs) -> Grid:
    return (knobs["WG"],), (knobs["WG"],)


def _one_pass(case: Choice) -> tuple[int, int]:
    return 4 * case.B * case.V, 3 * case.B * case.V


def _weights_work(case: Choice) -> tuple[int, int]:
    """Where an id is drawn, logits are read and weights are written."""
    drawn = bool((case.options or {}).get("temperature"))
    found = 2 + 1 + 4  # tops, top_ids, masses
    return (8 * drawn * case.V + 4 * found * case.GROUPS) * case.B, 6 * drawn * case.B * case.V


def _pick_work(case: Choice) -> tuple[int, int]:
    """The weights are read once, where an id is drawn."""
    drawn = bool((case.options or {}).get("temperature"))
    return 4 * (3 * BINS + drawn * case.V) * case.B, (BINS + 2 * drawn * case.V) * case.B


CASES = (
    replace(sample.CASES[0], GROUPS=2),
    *(replace(case, GROUPS=1 + i % 5) for i, case in enumerate(sample.CASES[1:])),
)
BENCH_CASES = tuple(replace(case, GROUPS=groups_of(case.V, 8)) for case in sample.BENCH_CASES)
BEST = Family(
    name="sample_best",
    case=Choice,
    arguments=_best_arguments,
    reference=best_reference,
    work=_one_pass,
    cases=CASES,
    bench_cases=BENCH_CASES,
    kernels=(
        Kernel(
            name="sample_best",
            source="sample_best.cl",
            classes=("generic",),
            defines=_defines,
            grid=_slices_grid,
            knobs={"WG": (256, 64)},
            requires=lambda _, knobs: Requires(local_bytes=(8 + 4) * knobs["WG"]),  # best of each
        ),
    ),
    inputs=_given,
)
WEIGHTS = Family(
    name="sample_weights",
    case=Choice,
    arguments=_weights_arguments,
    reference=weights_reference,
    work=_weights_work,
    cases=CASES,
    bench_cases=BENCH_CASES,
    kernels=(
        Kernel(
            name="sample_weights",
            source="sample_weights.cl",
            classes=("generic",),
            defines=_defines,
            grid=_slices_grid,
            knobs={"WG": (256, 64)},
            requires=lambda _, knobs: Requires(local_bytes=8 * knobs["WG"] + 4 * 3 * BINS),
        ),
    ),
    inputs=lambda case: _named(_before_weights(case), _weights_arguments(case)),
)
PICK = Family(
    name="sample_pick",
    case=Choice,
    arguments=_pick_arguments,
    reference=pick_reference,
    work=_pick_work,
    cases=CASES,
    bench_cases=BENCH_CASES,
    kernels=(
        Kernel(
            name="sample_pick",
            source="sample_pick.cl",
            classes=("generic",),
            defines=_defines,
            grid=_pick_grid,
            knobs={"WG": (256, 64)},
            requires=lambda _, knobs: Requires(local_bytes=8 * knobs["WG"] + 4 * (3 * BINS + 1)),
        ),
    ),
    inputs=lambda case: _named(_before_pick(case), _pick_arguments(case)),
    symbols="inout",
)
LAUNCHES = (BEST, WEIGHTS, PICK)  # in this order


def fits(case: Choice, device_class: str, local_memory: int) -> bool:
    """Whether each of the launches has as much local memory as it needs."""
    return all(
        usual_knobs(kernel, case, device_class, local_memory) is not None
        for family in LAUNCHES
        for kernel in family.kernels
    )
