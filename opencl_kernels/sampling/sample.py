"""The next id, chosen on the device, greedily or at random; and the step of the position.

The reference sorts where the kernels search: same ids, another way. How options are packed is
`packed_parameters`; what they mean is said to users in `toolkit/executors/sampling.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opencl_kernels.case import At, Case, Defines, Size, symbols
from opencl_kernels.family import Family, token_ids
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, Requires, worker_grid

PARAMETERS = 16
FLOATS = {"temperature": 0, "top_p": 2, "min_p": 3}
FLOATS |= {"repetition_penalty": 4, "presence_penalty": 5, "frequency_penalty": 6}
INTEGERS = {"top_k": 1, "window": 9, "logprobs": 10}
DEFAULTS = {"top_p": 1.0, "repetition_penalty": 1.0}
UNIT = np.float32(2**30)  # the largest weight


@dataclass(frozen=True, kw_only=True)
class Choice(Case):
    """The next id of each of B texts, from logits [M, V]; texts have room for C tokens."""

    M: Size
    V: int
    C: int
    GROUPS: int = 1  # slices of the ids, of work-groups that read one each
    options: Mapping[str, Any] | None = None  # of tests: what `packed_parameters` takes


def packed_parameters(seed: float = 0, **options: float) -> Array:
    """The kernel's `sampling` argument: floats by their bits, the seed in two elements."""
    packed = np.zeros(PARAMETERS, np.int32)
    for name, value in {**DEFAULTS, **options}.items():
        if name in FLOATS:
            packed.view(np.float32)[FLOATS[name]] = value
        else:
            packed[INTEGERS[name]] = value
    packed.view(np.uint32)[7:9] = int(seed) & 0xFFFFFFFF, int(seed) >> 32
    return packed


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10: four random words of a key and a counter.

    Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011), §3.3.
    """
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = b >> 32 ^ c1 ^ k0, b & 0xFFFFFFFF, a >> 32 ^ c3 ^ k1, a & 0xFFFFFFFF
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return c0, c1, c2, c3


def best_id(logits_V: Array) -> int:
    """The lowest id of the maximum; -1 if the maximum is no number (any NaN makes it NaN)."""
    top = np.max(logits_V)
    return int(np.argmax(logits_V)) if np.isfinite(top) else -1


def penalised(logits_V: Array, packed_16: Array, text: Array) -> Array:
    """Logits less what the ids of the text cost."""
    repeat, flat, each = packed_16.view(np.float32)[4:7]
    window = int(packed_16[9])
    text = text[-window:] if window > 0 else text
    text = text[(text >= 0) & (text < logits_V.size)]
    count = np.bincount(text, minlength=logits_V.size).astype(np.float32)
    repeat = np.float32(1) if packed_16[4] == 0 else repeat
    scaled = np.where(logits_V > 0, logits_V / repeat, logits_V * repeat)
    return np.where(count > 0, scaled - flat - each * count, logits_V)


def weights(values_V: Array, temperature: Any = 1.0) -> Array:
    """2^30 exp((value - largest) / temperature) as integers, in float32 like the kernels."""
    scale = np.float32(1.44269504) / np.float32(temperature)
    return np.asarray(np.exp2((values_V - values_V.max()) * scale) * UNIT).astype(np.uint64)


def kept_ids(weights_V: Array, packed_16: Array) -> Array:
    """The ids that top-k, top-p and min-p leave, ascending."""
    _, _, top_p, min_p = packed_16.view(np.float32)[:4]
    order = np.argsort(-weights_V.astype(np.int64), kind="stable")
    order = order[: int(packed_16[1]) or None]
    if top_p < 1:
        sums = np.cumsum(weights_V[order])
        goal = max(1, int(sums[-1]) * int(top_p * np.float32(2**24)) >> 24)
        order = order[: int(np.searchsorted(sums, np.uint64(goal))) + 1]
    order = order[weights_V[order] >= np.uint64(np.ceil(min_p * UNIT))]
    return np.sort(order)


def choose(logits_V: Array, packed_16: Array, text: Array, row: int = 0) -> int:
    """The id that follows a text."""
    temperature, _, top_p, _ = packed_16.view(np.float32)[:4]
    values = penalised(logits_V, packed_16, text)
    best = best_id(values)
    if best < 0 or temperature <= 0 or packed_16[1] == 1 or top_p <= 0:
        return best
    weights_V = weights(values, temperature)
    ids = kept_ids(weights_V, packed_16)
    sums = np.cumsum(weights_V[ids])
    low, high = packed_16.view(np.uint32)[7:9].tolist()
    random = philox((low, high), (len(text), row, 0, 0))[0] >> 8
    return int(ids[np.searchsorted(sums, np.uint64(int(sums[-1]) * random >> 24), side="right")])


def logprob(logits_V: Array, token: int) -> float:
    """Of the model's own distribution: before penalties, temperature and cuts."""
    x = logits_V.astype(np.float64)
    return float(x[token] - x.max() - np.log(np.exp(x - x.max()).sum())) if token >= 0 else 0.0


def reference(inputs: Mapping[str, Array], case: Choice) -> dict[str, Array]:
    """The text's ids, the new ones, their logprobs; `past` moves on by `seq`."""
    seq, past, rows, *start = sym = symbols(case)
    logits = inputs["logits"].reshape(case.B, rows, case.V)
    tokens, ids, logprobs = (inputs[name].copy() for name in ("tokens", "ids", "logprobs"))
    end = past + seq
    ids[:, past:end] = tokens.reshape(case.B, seq)
    for b, row in enumerate(logits[:, -1]):
        text = np.concatenate([np.full(start[b], -1, np.int32), ids[b, start[b] : end]])
        tokens[b] = ids[b, end] = choose(row, inputs["sampling"], text, b)
        if inputs["sampling"][10]:
            logprobs[b, end] = logprob(row, tokens[b])
    sym[1] = end
    return {"tokens": tokens, "ids": ids, "logprobs": logprobs, "sym": sym}


def _arguments(case: Choice) -> tuple[Argument, ...]:
    new, text = (case.B * case.symbols.seq,), (case.B, case.C + 1)
    return (
        Argument("logits", "f32", (case.M, case.V), "in"),
        Argument("sampling", "i32", (PARAMETERS,), "in"),
        Argument("tokens", "i32", new, "inout", random=token_ids(new, case.V)),
        Argument("counts", "i32", (case.V,), "out"),
        Argument("ids", "i32", text, "inout", random=token_ids(text, case.V)),
        Argument("logprobs", "f32", text, "inout"),
    )


def _inputs(case: Choice) -> dict[str, Array]:
    return {"sampling": packed_parameters(**(case.options or {}))}


def _defines(case: Choice, knobs: Knobs) -> Defines:
    sizes: Defines = {"B": case.B, "V": case.V, "C": case.C}
    return {**sizes, "WG": knobs["WG"]} if "WG" in knobs else sizes


def _group_grid(case: Choice, knobs: Knobs) -> Grid:
    return (knobs["WG"],), (knobs["WG"],)


def _group_requires(_: Choice, knobs: Knobs) -> Requires:
    """A sum and a value of each work-item."""
    return Requires(local_bytes=(8 + 4) * knobs["WG"])


def _work(case: Choice) -> tuple[int, int]:
    """Greedy: one pass over the logits; at random about seventy over the weights."""
    passes = 70 if (case.options or {}).get("temperature") else 1
    return 4 * passes * case.B * case.V, 3 * passes * case.B * case.V


PENALTIES = {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.25}
HOT = {"temperature": 1.5, "seed": 7, "logprobs": 1}
OPTIONS: tuple[dict[str, float], ...] = (
    {"temperature": 0.7},
    {"temperature": 1.5, "seed": 2**63 + 5},
    {**HOT, "top_k": 1},
    {**HOT, "top_k": 40},
    {**HOT, "top_k": 256},
    {**HOT, "top_p": 0.0},
    {**HOT, "top_p": 0.01},
    {**HOT, "top_p": 0.9},
    {**HOT, "min_p": 0.05},
    {**HOT, "min_p": 1.0},
    {**HOT, "top_k": 200, "top_p": 0.8},
    {"temperature": 0.01, "top_k": 50},
    {"temperature": 100.0, "top_p": 0.999},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.5, "temperature": 1.0},
    {"presence_penalty": 2.0, "logprobs": 1},
    {"frequency_penalty": -1.5, "temperature": 1.0, "seed": 3},
    {**PENALTIES, "window": 3},
    {**HOT, **PENALTIES, "window": 4, "top_k": 100, "top_p": 0.9, "min_p": 0.02},
)
ONE = Choice(M=1, V=7, C=4, last_rows=True, at=At(past=3))
SOME = replace(ONE, V=1003, C=9, at=At(seq=4, past=3))
TWO = replace(SOME, M=6, B=2, at=At(seq=4, past=2, rows=3))
CASES = (
    replace(ONE, options={"temperature": 1.0, "top_k": 3, "top_p": 0.8}),
    ONE,
    replace(ONE, V=65, C=9, at=At(seq=5), options={"logprobs": 1, **PENALTIES}),
    replace(ONE, V=64, C=90, at=At(past=80), options={**HOT, **PENALTIES}),
    *(replace(SOME, options=options) for options in OPTIONS),
    replace(ONE, V=32003, C=9, options={**HOT, **PENALTIES, "top_p": 0.95}),
    replace(TWO, at=replace(TWO.symbols, start=(0, 3)), options={**HOT, **PENALTIES, "top_k": 60}),
    TWO,
)
CUTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1}
LONG = replace(ONE, V=32000, C=2048, at=At(past=511))
BENCH_CASES = (LONG, replace(LONG, V=128256), replace(LONG, options=CUTS))

SAMPLE_CPU = Kernel(
    name="sample_cpu",
    source="sample_cpu.cl",
    classes=("cpu",),
    defines=_defines,
    grid=worker_grid,
    knobs={"WORKERS": (1, 3)},
)
SAMPLE = Kernel(
    name="sample",
    source="sample.cl",
    classes=("generic",),
    defines=_defines,
    grid=_group_grid,
    knobs={"WG": (256, 32)},
    requires=_group_requires,
)
FAMILY = Family(
    name="sample",
    case=Choice,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=BENCH_CASES,
    kernels=(SAMPLE_CPU, SAMPLE),
    inputs=_inputs,
    symbols="inout",
)
