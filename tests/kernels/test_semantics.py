"""What random inputs don't show: keys that must not be read, logits that are no numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from launches import skip_without
from sampler import SlicedSampler

from opencl_kernels import FAMILIES, KERNELS, family_of
from opencl_kernels.attention.heads import Heads, visible
from opencl_kernels.case import At, Case, case_id, symbols
from opencl_kernels.embedding.embed import Lookup
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import QUANTIZED, Array, pack_codes, pack_groups
from opencl_kernels.launch import launch
from opencl_kernels.layouts import quantized
from opencl_kernels.map.indexed import Operand
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.sampling.sample import Choice, best_id, philox
from opencl_kernels.tuned import default_knobs

STORAGE = {bits: name for name, bits in QUANTIZED.items()}
SLICED = "three launches"  # of the sampler


def cases_of(name: str) -> list[Heads]:
    """Those that a kernel of attention can compute, but for what was rounded to halves after it."""
    kernel, cases = KERNELS[name], [c for c in family_of(name).cases if c.y == "f32"]
    able = [c for c in cases if kernel.supports(c) is None]
    return [c for c in able if c.x == "f32"] or able  # where it has a choice, floats


ATTENTION = [
    pytest.param(kernel.name, case, id=f"{kernel.name}-{case_id(case)}")
    for name, family in FAMILIES.items()
    if name.startswith("attention") and name != "attention_combine"  # which reads no state
    for kernel in family.kernels
    for cases in [cases_of(kernel.name)]
    for case in (*cases[1:3], *(c for c in cases if c.score and c.y == "f32"))
]


def run(queue: Any, name: str, inputs: dict[str, Array], case: Any) -> dict[str, Array]:
    if name == SLICED:
        return SlicedSampler(queue, case).run(case, inputs)
    kernel = KERNELS[name]
    knobs = default_knobs(kernel, kernel.classes[0])
    skip_without(queue, kernel.requires(case, knobs).features)
    return launch(queue, family_of(name), kernel, inputs, case, knobs)[0]


def inputs_of(name: str, case: Case) -> dict[str, Array]:
    family = family_of("sample" if name == SLICED else name)
    return random_inputs(family, case, np.random.default_rng(0))


def forget_invisible(state: Array, case: Heads) -> None:
    """NaN in every slot that holds no key which any token may see."""
    seq, past, _, *start = symbols(case).tolist()
    for b in range(case.B):
        first = max(start[b], past - case.WINDOW + 1) if case.WINDOW else start[b]
        hidden = np.ones(case.C, bool)
        hidden[np.arange(first, past + seq) % case.C] = False
        state[b, :, hidden] = np.nan


@pytest.mark.parametrize(
    "name", ["gemv", "gemv_quantized_cpu", "gemm", "gemm_tiled", "gemm_cpu", "embed"]
)
@pytest.mark.parametrize("bits", [4, 8])
def test_every_code_reads_as_its_value(queue: Any, name: str, bits: int) -> None:
    """All codes, one after the other, times 1: what comes out is scale * (code - zero)."""
    count, weight = 2**bits, quantized(STORAGE[bits], 16, "f32", "u8")
    table = pack_codes(np.arange(count, dtype=np.uint8)[:, None], bits, 16)
    case: Case = Product(M=1, N=count, K=1, w=weight)
    scale = pack_groups(np.full((count, 1), 0.75, np.float32))
    inputs = {"w": table, "scale": scale, "zero": pack_groups(np.full((count, 1), 5, np.uint8))}
    if name == "embed":
        case = Lookup(M=count, V=count, D=1, w=weight)
        inputs["tokens"] = np.arange(count, dtype=np.int32)
    else:
        inputs["x"] = np.ones((1, 1), np.float32)
    outputs = run(queue, name, inputs, case)
    assert outputs["y"].reshape(-1).tolist() == [0.75 * (code - 5) for code in range(count)]


@pytest.mark.parametrize(("name", "case"), ATTENTION)
def test_attention_reads_only_visible_keys(queue: Any, name: str, case: Heads) -> None:
    inputs = inputs_of(name, case)
    for state in ("k_state", "v_state"):
        forget_invisible(inputs[state], case)
    outputs = run(queue, name, inputs, case)
    for key, expected in family_of(name).reference(inputs, case).items():
        np.testing.assert_allclose(outputs[key], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["attention_prefill", "attention_prefill_cpu", "attention_prefill_half"]
)
def test_padding_rows_of_attention_are_zero(queue: Any, name: str) -> None:
    case = cases_of(name)[1]  # text 1 starts at 6: its tokens 3, 4 and 5 see nothing
    y = run(queue, name, inputs_of(name, replace(case, sink="")), replace(case, sink=""))["y"]
    first = case.symbols.seq
    assert (y[first : first + 3] == 0).all()
    assert (y[first + 3] != 0).all()


@pytest.mark.parametrize("name", dict.fromkeys(each.values[0] for each in ATTENTION))
def test_a_score_is_that_of_visible_keys(queue: Any, name: str) -> None:
    """Of all biases, for each row and position, those of other keys are no numbers."""
    plain = replace(cases_of(name)[1], sink="")
    keys = plain.symbols.past + plain.symbols.seq
    score, size = f"s + a0[{keys}*(i0*seq + i2) + i3]", int(plain.M) * keys
    case = replace(plain, WINDOW=6, score=score, inputs=(Operand("f32", size),))
    inputs = inputs_of(name, case)
    hidden = np.ones((case.M, keys), bool)
    for m, _, first, end in visible(case):
        hidden[m, first:end] = False
    inputs["a0"][hidden.reshape(-1)] = np.nan
    outputs = run(queue, name, inputs, case)
    for key, expected in family_of(name).reference(inputs, case).items():
        np.testing.assert_allclose(outputs[key], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["attention_split", "attention_split_cpu", "attention_split_half", "attention_split_shuffle"],
)
def test_combined_splits_equal_attention(queue: Any, name: str) -> None:
    for case in cases_of(name):
        inputs = inputs_of(name, case)
        splits = run(queue, name, inputs, case)["splits"]
        combined = run(queue, "attention_combine", {"splits": splits}, case)
        whole = FAMILIES["attention_decode"].reference(inputs, case)["y"]
        bar = 1e-2 if combined["y"].dtype == np.float16 else 1e-4
        np.testing.assert_allclose(combined["y"], whole, rtol=bar, atol=bar)


NAN, INF = float("nan"), float("inf")
LOGITS = {
    "tie_takes_the_lower_id": ({3: 7.0, 40: 7.0}, 3),
    "tie_across_the_tail": ({15: 7.0, 64: 7.0}, 15),
    "last_of_all": ({64: 7.0}, 64),
    "a_nan_anywhere": ({3: 7.0, 64: NAN}, -1),
    "nan_before_the_maximum": ({3: NAN, 40: 7.0}, -1),
    "infinite_maximum": ({17: INF}, -1),
    "some_minus_infinity": ({0: -INF, 1: 7.0, 64: -INF}, 1),
    "all_minus_infinity": (dict.fromkeys(range(65), -INF), -1),
    "all_nan": (dict.fromkeys(range(65), NAN), -1),
    "lowest_float": (dict.fromkeys(range(65), float(np.finfo(np.float32).min)), 0),
}


SAMPLE_CASE = Choice(M=1, V=65, C=9, GROUPS=3, last_rows=True, at=At(seq=5))


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("name", ["sample", "sample_cpu", SLICED])
@pytest.mark.parametrize(("changes", "expected"), LOGITS.values(), ids=LOGITS)
def test_ids_of_special_logits(
    queue: Any, name: str, changes: dict[int, float], expected: int, temperature: float
) -> None:
    options = {"temperature": temperature, "top_p": 0.1} if temperature else {}
    case = replace(SAMPLE_CASE, options={**options, "logprobs": 1})
    inputs = inputs_of(name, case)
    inputs["logits"] = np.tanh(inputs["logits"])
    for index, value in changes.items():
        inputs["logits"][0, index] = value
    assert best_id(inputs["logits"][0]) == expected
    outputs = run(queue, name, inputs, case)
    if len(changes) < 65 or expected < 0:  # ids that are equally likely may all be drawn
        assert outputs["tokens"][0] == expected
        assert outputs["ids"][0, 5] == expected
    assert outputs["ids"][0, :5].tolist() == inputs["tokens"].tolist()
    assert outputs["sym"][1] == 5, "past must move on by seq"
    assert np.isfinite(outputs["logprobs"][0, 5])


@pytest.mark.parametrize("name", ["sample", "sample_cpu", SLICED])
def test_draws_follow_the_probabilities(queue: Any, name: str) -> None:
    """Chi-square over 2,000 seeds: 20 ids, 19 degrees of freedom, 99.9 % of fair draws below 44."""
    logits = np.random.default_rng(1).standard_normal((1, 20)).astype(np.float32)
    draws, expected = 2000, np.exp(logits[0].astype(np.float64) / 0.8)
    expected *= draws / expected.sum()
    options = {"temperature": 0.8, "seed": 11}
    sized = Choice(M=draws, B=draws, V=20, C=3, options=options)
    case = replace(sized, last_rows=True, at=At(seq=1, past=1))
    inputs = inputs_of(name, case) | {"logits": np.repeat(logits, draws, 0)}
    outputs = run(queue, name, inputs, case)
    found = np.bincount(outputs["tokens"], minlength=20)
    assert np.sum((found - expected) ** 2 / expected) < 44


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 2,
            (0xFFFFFFFF,) * 4,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_its_published_answers(key: Any, counter: Any, expected: Any) -> None:
    """kat_vectors of Random123, `philox4x32 10`."""
    assert philox(key, counter) == expected
