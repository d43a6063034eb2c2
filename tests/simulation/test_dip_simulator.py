"""The simulator of DIP's authors: cases by hand, and what their formulas give for known models."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.errors import PocketError
from toolkit.simulation.dip_simulator import (
    DipSimulator,
    Hardware,
    Hook,
    Memory,
    Setting,
    Shape,
    Taken,
    hooks,
)

# 10 bytes a second of flash, 100 of memory; one layer: attention of 4 * 4 * 4 = 64 numbers, an
# embedding of 4 * 5 = 20, three products of 4 * 8 = 32 each; a byte a number.
TINY = Shape(hidden=4, ffn=8, layers=1, heads=2, kv_heads=2, vocabulary=5, predictors=6)
BYTES = {"precision": 1.0, "kv_precision": 1.0}
PROMPT = {"prompt": 2, "length": 6}


def hardware(dram: float, **options: bool) -> Hardware:
    return Hardware(dram, 100.0, 10.0, **options)


def taken(hook: Hook, *pairs: tuple[float, float]) -> Taken:
    chosen, hits = np.array(pairs, float).T
    return Taken(hook, chosen, hits)


def test_a_token_by_hand() -> None:
    """KV: 2 * 4 numbers a token, 48 bytes of room for six, of which (2 + 6) / 2 are read."""
    memory = Memory.of(TINY, Setting(**BYTES, **PROMPT))
    assert (memory.static, memory.read, memory.dynamic) == (64 + 20 + 48, 64 + 20 + 32, 96)
    simulator = DipSimulator(hardware(132 + 48), memory, 1.0)
    inputs, downs = hooks(TINY, Setting())
    assert (inputs.columns, inputs.out, inputs.linears) == (4, 8, 2)
    assert (downs.columns, downs.out, downs.linears) == (8, 4, 1)
    assert simulator.capacity == 0.5
    assert (simulator.slots(inputs), simulator.slots(downs)) == (2, 4)
    of_inputs, of_downs = taken(inputs, (3, 2), (3, 0)), taken(downs, (5, 4), (4, 4))
    # a column of inputs is 16 bytes, one of downs 4
    assert simulator.hook_s(of_inputs).tolist() == pytest.approx([1.6 + 0.32, 4.8])
    assert simulator.hook_s(of_downs).tolist() == pytest.approx([0.4 + 0.16, 0.16])
    first, second = 1.16 + 1.92 + 0.56, 1.16 + 4.8 + 0.16
    rates = simulator.rates([[of_inputs, of_downs]])
    assert rates.tokens_per_s == pytest.approx(2 / (first + second))
    up_and_gate, down = (2 / 3 + 0) / 2, (4 / 5 + 1) / 2
    assert rates.hit_rate == pytest.approx((2 * up_and_gate + down) / 3)
    assert rates.hit_rate_bytes == pytest.approx((2 * 16 + 8 * 4) / (6 * 16 + 9 * 4))


def test_side_by_side_the_longer_read_counts_for_each_mask() -> None:
    memory = Memory.of(TINY, Setting(**BYTES, **PROMPT))
    simulator = DipSimulator(hardware(180, concurrent=True), memory, 1.0)
    inputs = hooks(TINY, Setting())[0]
    assert simulator.hook_s(taken(inputs, (3, 2), (2, 2))).tolist() == pytest.approx([1.6, 0.32])
    assert simulator.fixed_s() == pytest.approx(1.16)


def test_what_is_static_and_does_not_fit_is_read_twice() -> None:
    """From flash, and still from memory: as the authors count."""
    memory = Memory.of(TINY, Setting(**BYTES, **PROMPT))
    simulator = DipSimulator(hardware(132 - 10), memory, 1.0)
    assert simulator.capacity < 0 and simulator.slots(hooks(TINY, Setting())[0]) == 0
    assert simulator.fixed_s() == pytest.approx(1.0 + 1.16)
    beside = DipSimulator(hardware(122, concurrent=True), memory, 1.0)
    assert beside.fixed_s() == pytest.approx(1.16)
    with pytest.raises(PocketError, match="10 bytes more"):
        DipSimulator(hardware(122, overflow=False), memory, 1.0)


def test_of_pruned_gated_units_two_products_are_static() -> None:
    setting = Setting(static=("attention", "embedding", "gate", "up"), **BYTES, **PROMPT)
    memory = Memory.of(TINY, setting)
    assert (memory.static, memory.dynamic) == (132 + 64, 32)
    assert [hook.name for hook in hooks(TINY, setting)] == ["downs"]
    half = Setting(static=("attention", "embedding", "gate"), **BYTES, **PROMPT)
    assert hooks(TINY, half)[0].linears == 1
    with pytest.raises(PocketError, match="no layer is of type mlp"):
        Setting(static=("mlp",))


def test_a_prompt_reads_what_is_static_and_what_is_streamed() -> None:
    setting = Setting(streamed=("gate", "up", "down"), **BYTES, **PROMPT)
    simulator = DipSimulator(hardware(200), Memory.of(TINY, setting), 1.0)
    dram, flash = 64 + 20 + 2 * 8, 96 + 6  # predictors, whose name the authors' code misses
    assert simulator.prompt_s(TINY, setting) == pytest.approx(dram / 100 + flash / 10)


def test_throughput_is_a_mean_over_sequences_and_an_empty_mask_a_hit() -> None:
    simulator = DipSimulator(hardware(180), Memory.of(TINY, Setting(**BYTES, **PROMPT)), 1.0)
    downs = hooks(TINY, Setting())[1]
    empty, full = taken(downs, (0, 0)), taken(downs, (8, 4))
    rates = simulator.rates([[empty], [full]])
    assert rates.seconds == pytest.approx([1.16, 1.16 + 1.6 + 0.16])
    assert rates.tokens_per_s == pytest.approx((1 / 1.16 + 1 / 2.92) / 2)
    assert rates.hit_rate == 0.75 and rates.hit_rate_bytes == 0.5


def test_no_hit_rate_is_above_what_lies_in_memory() -> None:
    """C / density: more is a slip of whoever counted."""
    simulator = DipSimulator(hardware(180), Memory.of(TINY, Setting(**BYTES, **PROMPT)), 1.0)
    downs = hooks(TINY, Setting())[1]
    with pytest.raises(PocketError, match="downs hits 5 columns at token 1"):
        simulator.rates([[taken(downs, (6, 4), (6, 5))]])
    with pytest.raises(PocketError, match="at most 3 "):
        simulator.hook_s(taken(downs, (3, 4)))


MODELS = {  # hidden, ffn, layers, heads, KV heads, vocabulary: what 4 bits give in half the memory
    "Llama-3-8B": ((4096, 14336, 32, 32, 8, 128256), (2.819, 0.671, 0.263, 0.134), 0.287),
    "Phi-3-medium": ((5120, 17920, 40, 40, 10, 32064), (5.505, 1.311, 0.082, 0.210), 0.335),
    "Mistral-7B": ((4096, 14336, 32, 32, 8, 32000), (2.819, 0.671, 0.066, 0.134), 0.322),
    "Phi-3-mini": ((3072, 8192, 32, 32, 32, 32064), (1.208, 0.604, 0.049, 0.403), -0.104),
}
RATES = {  # tokens/s of streaming all; hits and tokens/s at best at densities .5 and .8
    "Llama-3-8B": (0.490, (0.573, 1.58), (0.358, 0.68)),
    "Phi-3-medium": (0.269, (0.671, 1.04), (0.419, 0.38)),
    "Mistral-7B": (0.515, (0.643, 1.88), (0.402, 0.73)),
    "Phi-3-mini": (0.741, (0.0, 1.34), (0.0, 0.90)),
}


@pytest.mark.parametrize("name", MODELS)
def test_known_models(name: str) -> None:
    """Serial, 60 and 1 GB/s, one embedding, a byte a number of the KV cache of 2,048 tokens."""
    sizes, gigabytes, capacity = MODELS[name]
    shape, setting = Shape(*sizes), Setting()
    memory = Memory.of(shape, setting)
    parts = [shape.numbers("attention") / 2, shape.numbers("embedding") / 2, shape.cached(2048)]
    assert [memory.dynamic / 1e9, *(n / 1e9 for n in parts)] == pytest.approx(gigabytes, abs=6e-4)
    weights = memory.dynamic + sum(map(shape.numbers, setting.static)) / 2
    simulator = DipSimulator(Hardware(weights / 2), memory)
    assert simulator.capacity == pytest.approx(capacity, abs=6e-4)
    dense, *others = RATES[name]

    def rates(density: float) -> tuple[float, float]:
        masks = [simulator.best(hook, density) for hook in hooks(shape, setting)]
        found = simulator.rates([masks * shape.layers])
        return found.hit_rate, found.tokens_per_s

    assert rates(1.0)[1] == pytest.approx(dense, abs=1.5e-3)
    for density, (hits, tokens) in zip((0.5, 0.8), others, strict=True):
        assert rates(density) == (pytest.approx(hits, abs=1e-3), pytest.approx(tokens, abs=6e-3))
